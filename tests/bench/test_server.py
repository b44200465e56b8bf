"""The server as a process: several workers are weighed together, what they share once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from upnext.bench.server import ServerProcess, serving
from upnext.home import Home

proc = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="no /proc to read from")


@pytest.fixture
def two(home: Home) -> Iterator[ServerProcess]:
    with serving(home.directory, workers=2) as server:
        yield server


@proc
def test_workers_are_weighed_with_what_they_share_once_and_their_cpu_adds_up(two: ServerProcess) -> None:
    pids = two._processes()
    assert len(pids) == 3  # and one that looks after them
    told = subprocess.run(["ps", "-o", "rss=", "-p", ",".join(map(str, pids))], capture_output=True, check=True).stdout
    each = [int(kb) / 1024 for kb in told.split()]
    assert max(each) < two.resident_mb() < sum(each)
    before = two.cpu_s()
    with two.client() as client:
        for _ in range(100):
            assert client("POST", "/v1/recommendations", {"user_id": "u1", "n": 5})[0] == 200
    after = two.cpu_s()
    assert before is not None
    assert after is not None
    assert after - before > 0.1
