"""A small home with a real model, trained once a session; each test that writes gets a copy of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving.server import running
from upnext.home import Home
from upnext.serving.engine import Engine

DAY_MS = 86_400_000
SMALL = (
    "candidates.als.embedding_size=8",
    "candidates.als.epochs=2",
    "candidates.two_tower.embedding_size=16",
    "candidates.two_tower.epochs=1",
    "ranking.epochs=1",
    "ranking.expert_sizes=[16, 8]",
    "training.threads=2",
)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a home with 400 items, 120 users and a model. Not to be written to."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "trained-home"
    with (shared / "trained-home.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes share one home
        if not folder.exists():
            _train(shared / "home-in-training")
            (shared / "home-in-training").rename(folder)
    return folder


def _train(folder: Path) -> None:
    from upnext.simulation.frames import simulate
    from upnext.simulation.world import WorldConfig
    from upnext.training.progress import Silent
    from upnext.training.run import train

    start_at = time.time_ns() // 1_000_000 - 4 * DAY_MS
    data = simulate(WorldConfig(items=400, users=120, impressions=4_800, days=4, seed=1, start_at=start_at))
    Home.create(folder)
    home = Home.open(folder, SMALL)
    log = home.log()
    log.upsert_items(data.items)
    log.upsert_users(data.users)
    log.append_events(data.events)
    log.close()
    train(home, None, Silent())


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Home:
    """A trained home of one's own."""
    shutil.copytree(trained, tmp_path / "home")
    return Home.open(tmp_path / "home")


@pytest.fixture
def bare(tmp_path: Path) -> Home:
    """A home with nothing in it."""
    return Home.create(tmp_path / "bare")


@pytest.fixture
def engine(home: Home) -> Iterator[Engine]:
    with Engine(home) as opened:
        yield opened


@pytest.fixture
def client(home: Home) -> Iterator[httpx.Client]:
    with running(home) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_client(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One server for many tests that do not care what the others wrote."""
    folder = tmp_path_factory.mktemp("shared") / "home"
    shutil.copytree(trained, folder)
    with running(Home.open(folder)) as opened:
        yield opened
