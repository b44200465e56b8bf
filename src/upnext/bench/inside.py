"""The same funnel without HTTP: what its two kernels take, and what an exact search would have answered.

The kernels are the search of the item index and the run of the ranker's network; all else is overhead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from upnext.home import Home
from upnext.serving.engine import Engine
from upnext.types import Float32, Int32

K, RECALL_AT = 10, 1000
AT_ONCE = 20  # exact searches that share the reading of the vectors


@dataclass(frozen=True)
class Inside:
    """Milliseconds a request, one after the other; and how close the index comes to an exact search."""

    total: list[float]
    search: list[float]
    ranker: list[float]
    recall: float  # of the exact RECALL_AT nearest to the users' vectors
    overlap: float  # of the slates' first K with those of a funnel that searches exactly
    history: float  # median number of events that the ranker attends to


class _Spans:
    """Wraps a function, and remembers from when to when it ran: threads that run side by side count once."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run
        self.begin, self.end = np.inf, -np.inf

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return self._run(*arguments, **named)
        finally:
            self.begin, self.end = min(self.begin, started), max(self.end, time.perf_counter())

    def ms(self) -> float:
        """Since it was last asked for."""
        took = 1000 * max(self.end - self.begin, 0.0)
        self.begin, self.end = np.inf, -np.inf
        return took


class _Session:
    """An ONNX Runtime session whose runs are timed."""

    def __init__(self, session: Any) -> None:
        self.run = _Spans(session.run)


def look_inside(home: Home, users: Sequence[str], exact_users: int) -> Inside:
    """One request for each of ``users``, as the server computes it; the first ``exact_users`` once more, exactly."""
    with Engine(home) as engine:
        model = engine.funnels.model
        tower = None if model is None else model.sources.two_tower
        if model is None or tower is None:
            raise ValueError("only a home with a trained two-tower model can be looked into")
        codes, now = engine.live.users.ids.encode(list(users)), engine.clock.now()
        search, scorer = _Spans(tower.space.search), _Session(model.ranker.scorer)
        tower.space.search = search  # type: ignore[method-assign]
        model.ranker.scorer = scorer
        took: list[tuple[float, float, float]] = []
        slates, vectors = [], []
        for code in codes.tolist():
            started = time.perf_counter()
            slate, vector = _answer(engine, code, now)
            took.append((1000 * (time.perf_counter() - started), search.ms(), scorer.run.ms()))
            slates.append(slate)
            vectors.append(vector)
        few = vectors[:exact_users]
        recalls = [tower.space.recall(np.concatenate(few[n : n + AT_ONCE]), RECALL_AT) for n in _steps(few)]
        recall = float(np.mean(recalls))
        model.search_exactly()
        exact = [_answer(engine, code, now)[0] for code in codes[:exact_users].tolist()]
        same = [len(np.intersect1d(one, other)) / max(len(other), 1) for one, other in zip(slates, exact, strict=False)]
        total, kernel, ranked = (list(column) for column in zip(*took, strict=True))
        size = model.ranker.spec.history_size
        events = [(engine.live.state.histories(codes[n : n + 1])[0].item >= 0).sum() for n in range(len(codes))]
        return Inside(total, kernel, ranked, recall, float(np.mean(same)), float(np.median(np.minimum(events, size))))


def _steps(parts: Sequence[Any]) -> range:
    return range(0, len(parts), AT_ONCE)


def _answer(engine: Engine, user: int, now: int) -> tuple[Int32, Float32]:
    """The first K items for a user at a moment, and the vector that they were searched by."""
    funnels = engine.funnels
    requests = engine.live.requests(np.array([user], np.int32), np.array([now], np.int64), K)
    slate = funnels.whole(requests, 10_000.0, observe=False)
    tower = None if funnels.model is None else funnels.model.sources.two_tower
    assert tower is not None
    return slate.chosen.item, tower.user_vectors(requests)
