"""The clock of one call of the funnel, with its trace, and the pace that earlier calls kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType

import numpy as np

from upnext.types import StageTrace

_LOG = logging.getLogger("upnext.pipeline")

FEWEST_CANDIDATES = 100  # fewer are not worth the full ranker: a lighter one takes over


class Pace:
    """How long sources take, and features and ranking a row, as seen so far: what a deadline can afford."""

    def __init__(self) -> None:
        self._features_ms, self._ranking_ms = 0.002, 0.008  # a row; corrected by the first answers
        self._source_ms: dict[str, float] = {}  # a request

    def source(self, name: str, ms: float) -> None:
        self._source_ms[name] = self.source_ms(name) + 0.1 * (ms - self.source_ms(name))

    def source_ms(self, name: str) -> float:
        return self._source_ms.get(name, 0.0)

    def features(self, rows: int, seconds: float) -> None:
        if rows >= FEWEST_CANDIDATES:
            self._features_ms += 0.1 * (1000 * seconds / rows - self._features_ms)

    def ranking(self, rows: int, seconds: float) -> None:
        if rows >= FEWEST_CANDIDATES:
            self._ranking_ms += 0.1 * (1000 * seconds / rows - self._ranking_ms)

    def skipped(self) -> None:
        """Expect a little less each time, or a ranker that was slow once would never be measured again."""
        self._ranking_ms *= 0.98

    def rows_in(self, ms: float) -> int:
        return int(max(ms, 0) / (self._features_ms + self._ranking_ms))

    def ranking_ms(self, rows: int) -> float:
        return rows * self._ranking_ms


class Run:
    """The clock, the trace and the degradations of one call."""

    def __init__(self, started: float, deadline_ms: float | None) -> None:
        self._started = started
        self.deadline_ms = deadline_ms
        self.trace: list[StageTrace] = []
        self.degraded: list[str] = []

    def elapsed(self) -> float:
        return 1000 * (time.perf_counter() - self._started)

    def left(self) -> float:
        """Milliseconds to the deadline; infinite without one."""
        return self.deadline_ms - self.elapsed() if self.deadline_ms else np.inf

    def note(self, stage: str, name: str, error: str, rows_in: int = 0, rows_out: int = 0, ms: float = 0.0) -> None:
        self.trace.append(StageTrace(stage, name, rows_in, rows_out, ms, error))
        self.degraded.append(f"{stage}: {name}: {error}")

    def stage(self, stage: str, name: str, rows_in: int = 0) -> Stage:
        """Times a stage; an exception is recorded and swallowed: the code after the block holds the fallback."""
        return Stage(self, stage, name, rows_in)


class Stage:
    """A block of one stage's work. Entering it gives a function that is told how many rows came out."""

    def __init__(self, run: Run, stage: str, name: str, rows_in: int) -> None:
        self._run, self._stage, self._name, self._rows_in, self._rows_out = run, stage, name, rows_in, rows_in
        self._started = time.perf_counter()

    def __enter__(self) -> Callable[[int], None]:
        return self._done

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        ms = 1000 * (time.perf_counter() - self._started)
        if error is None:
            self._run.trace.append(StageTrace(self._stage, self._name, self._rows_in, self._rows_out, ms))
            return True
        if not isinstance(error, Exception):
            return False
        # Any stage may fail in any way; the answer must not.
        _LOG.warning("%s %s failed", self._stage, self._name, exc_info=error)
        self._run.note(self._stage, self._name, short(error), self._rows_in, self._rows_out, ms)
        return True

    def _done(self, rows: int) -> None:
        self._rows_out = rows


def short(error: BaseException) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}"[:200]
