"""The PostgreSQL server of the tests: a real one, or none, and then the tests that need it are skipped and say so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from upnext.testing.postgres_server import Server, programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One a test process; each log in it has a schema of its own. Not synced: a crash of the machine is not tested."""
    if programs() is None:
        pytest.skip("there is no PostgreSQL server: `make postgres` installs it")
    server = Server(["fsync=off", "shared_buffers=32MB"])
    yield server
    server.close()


def schema_of(folder: Path) -> str:
    """A name for the log of a test's folder."""
    return "t_" + re.sub(r"[^a-z0-9]+", "_", str(folder).lower())[-60:]
