"""The trained home of the serving tests, and a measurement made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.conftest import bare, home, trained
from upnext.bench.command import Took
from upnext.bench.drive import Asked
from upnext.bench.home import Prepared, Size
from upnext.bench.inside import Inside
from upnext.bench.run import AtRate, Measured

__all__ = ["bare", "home", "trained"]


def asked(took: list[float], refused: int = 0, failed: int = 0, seconds: float = 1.0) -> Asked:
    return Asked(took=took, refused=[1.0] * refused, failed=["gone"] * failed, seconds=seconds)


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    """Round figures, each of which occurs once."""
    made = {"import": Took(12.5, 11.25, 345.0), "train": Took(123.0, 234.0, 1357.0)}
    light = Asked(
        took=[4.0, 6.0, 8.0], inside=[3.0, 5.0, 7.0], stages={"ranking: multi_task": [1.0, 2.0, 3.0]},
        rows=[990, 1000, 1010], degraded={"candidates": 2}, failed=["gone"], seconds=0.5,
    )  # fmt: skip
    return Measured(
        Prepared(tmp_path, Size(1000, 100, 20_000), 1_790_000_000.0, made),
        "an abacus, 2 cores",
        3,
        True,
        training=[("item vectors", 1.75), ("item index", 9.5)],
        disk={"log": 42_000_000, "model, item index": 17_000_000},
        from_log_s=21.5,
        cold_start_s=3.25,
        resident_mb=777.0,
        light=light,
        cpu_ms=11.5,
        rates=[AtRate(20, asked([10.0] * 160, seconds=8.0)), AtRate(25, asked([500.0] * 200, seconds=8.0))],
        candidates={200: Asked(took=[2.5], rows=[200])},
        inside=Inside([4.0], [0.5], [1.5], 0.9876, 0.998, 37.0),
    )
