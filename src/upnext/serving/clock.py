"""The server's clock: what orders the log, and what makes a request reproducible from it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Clock:
    """Unix ms that never go back, nor past the arrival of what is still being written.

    So whatever a request's features count by time is in the views already, and a replay of the log counts the same.
    """

    def __init__(self, latest: int = 0, wall: Callable[[], int] = wall_ms) -> None:
        """``latest`` is the last moment that the log knows."""
        self._latest, self._wall = latest, wall
        self._arriving: int | None = None
        self._lock, self._writing = threading.Lock(), threading.Lock()

    def now(self) -> int:
        with self._lock:
            self._latest = max(self._latest, self._wall())
            return self._latest if self._arriving is None else self._arriving

    @contextmanager
    def arrival(self) -> Iterator[int]:
        """The moment at which something arrives; writers take turns, so that the log is in order of arrival."""
        with self._writing:
            with self._lock:
                self._arriving = self._latest = max(self._latest, self._wall())
            try:
                yield self._arriving
            finally:
                with self._lock:
                    self._arriving = None
