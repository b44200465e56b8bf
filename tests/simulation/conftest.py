"""One small world for all tests of this folder: large enough for statistics, made once."""

from __future__ import annotations

import pytest

from upnext.simulation import SimulatedData, WorldConfig, simulate

CONFIG = WorldConfig(items=2000, users=800, impressions=80_000, days=6, seed=3, topics=8)


@pytest.fixture(scope="session")
def data() -> SimulatedData:
    return simulate(CONFIG)
