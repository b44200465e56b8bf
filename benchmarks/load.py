"""Open loop: calls at a steady rate, whatever the answers take, as people call."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from upnext.bench.server import Client
from upnext.home import Home


@dataclass
class Load:
    """Calls at a steady rate, whatever the answers take: milliseconds of each, from the moment it was due."""

    took: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)  # of ``took``, what the call itself took, once it was sent
    due_at: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def between(self, start: float, end: float) -> list[float]:
        return [ms for ms, due in zip(self.took, self.due_at, strict=True) if start <= due <= end]


@contextmanager
def load(port: int, rate: float, call: Callable[[Client, int], None], connections: int = 8) -> Iterator[Load]:
    """``call(client, number)`` at ``rate`` a second while the block runs."""
    seen, stop, own = Load(), threading.Event(), threading.local()
    appending = threading.Lock()

    def one(number: int, due: float) -> None:
        if not hasattr(own, "client"):
            own.client = Client(port)
        sent = time.perf_counter()
        try:
            call(own.client, number)
        except (OSError, http.client.HTTPException, SystemExit) as error:
            seen.failed.append(str(error))
        ended = time.perf_counter()
        with appending:  # the lists are read side by side
            seen.took.append(1000 * (ended - due))
            seen.own.append(1000 * (ended - sent))
            seen.due_at.append(due)

    def run() -> None:
        started = time.perf_counter()
        with ThreadPoolExecutor(connections) as pool:
            for number in range(10**9):
                due = started + number / rate
                if stop.wait(max(due - time.perf_counter(), 0)):
                    return
                pool.submit(one, number, due)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def users_of(home: Path) -> list[str]:
    log = Home.open(home).log()
    try:
        return [str(user) for user in np.random.default_rng(0).permutation(log.ids("user"))]
    finally:
        log.close()


def percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")
