"""What is being watched now, the same for everybody: one sorted list a tick."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from upnext.candidates.topk import best_of_matrix, stack
from upnext.types import Candidates, Float32, Int64, Requests

TICK_MS = 60_000
TICKS_KEPT = 16


class Trending:
    """Source. A score is log(1 + decayed positive events) at the start of the minute; the others are left out."""

    name = "trending"

    def __init__(self, popularity: Callable[[int], Float32]) -> None:
        """``popularity(now)`` gives the decayed count of every item as of ``now`` (ms), ``[I]``."""
        self._popularity = popularity
        self._lists: dict[int, tuple[int, Candidates]] = {}

    def __call__(self, requests: Requests, k: int) -> Candidates:
        ticks, place = np.unique(requests.now // TICK_MS, return_inverse=True)
        if not len(ticks):
            return best_of_matrix(np.empty((0, 0), np.float32), k)
        top = stack([self._top(int(tick), k) for tick in ticks])
        return _repeated(top, place, k)

    def _top(self, tick: int, k: int) -> Candidates:
        """The best of a tick, at least k where there are as many, as a batch of 1."""
        cached = self._lists.get(tick)
        if cached is None or cached[0] < k:
            score = np.log1p(np.maximum(self._popularity(tick * TICK_MS), 0)).astype(np.float32)
            cached = k, best_of_matrix(score[None], k)
            self._lists = dict([*self._lists.items(), (tick, cached)][-TICKS_KEPT:])  # replaced whole: thread-safe
        return cached[1]


def _repeated(lists: Candidates, place: Int64, k: int) -> Candidates:
    """For request b the first k rows of list ``place[b]``."""
    size = np.minimum(np.diff(lists.offsets), k)[place]
    offsets = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    rows = np.repeat(lists.offsets[place] - offsets[:-1], size) + np.arange(offsets[-1])
    return lists.take(rows, offsets)
