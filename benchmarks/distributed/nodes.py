"""Three nodes of Ray on this machine, by Ray's own cluster utility, and the processes on them."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from upnext.distributed.cluster import need_ray
from upnext.home import Home
from upnext.testing.processes import processes

NODES, CORES = 3, 4
WAIT_S = 120.0


@contextmanager
def three_nodes() -> Iterator[str]:
    """The address of their head."""
    need_ray("local")  # sets the token that this cluster answers to, for this process and those that it starts
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": CORES})
    try:
        for _ in range(NODES - 1):
            cluster.add_node(num_cpus=CORES)
        yield cluster.address
    finally:
        cluster.shutdown()


def kill(name: str) -> int:
    """One of them, at once; which."""
    found = processes(name)
    if not found:
        raise SystemExit(f"no process is called {name}")
    os.kill(found[0], signal.SIGKILL)
    return found[0]


def copied(home: Path, folder: Path, log: str | None = None) -> Home:
    """A home of one's own, with its log elsewhere if asked."""
    shutil.copytree(home, folder)
    if log is not None:
        settings = folder / "upnext.toml"
        settings.write_text(settings.read_text(encoding="utf-8").replace("sqlite:///var/log.db", log), encoding="utf-8")
    return Home.open(folder)


def seconds_until(condition: Any) -> float:
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > WAIT_S:
            return float("nan")
        time.sleep(0.05)
    return time.monotonic() - started
