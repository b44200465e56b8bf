"""Admission: who would wait too long for an answer is told so at once, so that those let in are answered in time.

What an answer is expected to take: the work queued before it, shared by the threads, and its own. Only the event loop
asks and tells, so nothing here needs a lock. The rule, for people: docs/overload.md.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from upnext.serving.problems import Problem

Result = TypeVar("Result")

FIRST_S = 0.02  # what a kind of request is thought to take before one was measured
NEWS = 0.1  # how much of an estimate each measurement replaces
MOST_RETRY_S = 60


class Overloaded(Problem):
    """The server has more to do than it can do in time."""

    code = "overloaded"

    def __init__(self, expected_s: float, limit_s: float) -> None:
        self.retry_after_s = min(max(math.ceil(expected_s - limit_s), 1), MOST_RETRY_S)  # whole, as the header wants
        super().__init__(
            f"the server is overloaded: an answer would take about {1000 * expected_s:.0f} ms, and it takes on no "
            f"more than {1000 * limit_s:.0f} ms of them (serving.max_wait_ms)",
            remedy=f"Ask again after {self.retry_after_s} s, with pauses that grow; or give the server more workers",
        )


class Task:
    """One admitted request: ``run`` does its work, on whatever thread, and notes how long that took."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.took: float | None = None  # seconds from its start to its end; None = it never ran

    def run(self, work: Callable[[], Result]) -> Result:
        started = self._clock()
        try:
            return work()
        finally:
            self.took = self._clock() - started


class Admission:
    """Kinds of requests (routes) differ in what they take, and each is measured by itself.

    One that a free thread would take is always let in, however slow: otherwise nothing would ever be measured again.
    """

    def __init__(
        self,
        threads: int,
        limit_s: float,
        on_refused: Callable[[str], object] = lambda kind: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``limit_s`` is the longest that an answer may be expected to take, waiting included; in seconds."""
        self._threads, self._limit, self._on_refused, self._clock = threads, limit_s, on_refused, clock
        self._service: defaultdict[str, float] = defaultdict(lambda: FIRST_S)  # seconds, by kind
        self._inside: Counter[str] = Counter()  # requests that wait or run, by kind

    def expected(self, kind: str) -> float:
        """Seconds until a request that came now would be answered."""
        inside = self._inside.total()
        before = max(inside - self._threads + 1, 0)  # ends of others before a thread is free; each is as the mean
        work = sum(number * self._service[other] for other, number in self._inside.items())
        return self._service[kind] + before * work / max(inside, 1) / self._threads

    def check(self, kind: str) -> None:
        """Raises Overloaded when a request of this kind should not be let in now."""
        if self._inside.total() < self._threads:
            return
        expected = self.expected(kind)
        if expected > self._limit:
            self._on_refused(kind)
            raise Overloaded(expected, self._limit)

    def _measured(self, kind: str, took: float) -> None:
        """Beside others everything takes longer: whatever ended while threads were idle can only raise an estimate."""
        change = min(took, self._limit) - self._service[kind]  # so that one that hung is soon forgotten
        if change > 0 or self._inside.total() >= self._threads:
            self._service[kind] += NEWS * change

    @contextmanager
    def enter(self, kind: str) -> Iterator[Task]:
        """A block within which a request waits and runs. Raises Overloaded instead of entering it."""
        self.check(kind)
        self._inside[kind] += 1
        task = Task(self._clock)
        try:
            yield task
        finally:
            if task.took is not None:
                self._measured(kind, task.took)
            self._inside[kind] -= 1
