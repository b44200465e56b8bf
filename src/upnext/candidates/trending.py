"""What is being watched now, the same for everybody: one sorted list a tick."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from upnext.candidates.topk import best, none, stack
from upnext.compiled import compiled
from upnext.types import Candidates, Float32, Int32, Int64, Requests

TICK_MS = 60_000
TICKS_KEPT = 16
CLOSE = 1e-4  # as a share: log(1 + count) in float32 tells no less apart


class Trending:
    """Source. A score is log(1 + decayed positive events) at the start of the minute; the others are left out."""

    name = "trending"

    def __init__(self, popularity: Callable[[int], Float32]) -> None:
        """``popularity(now)`` gives the decayed count of every item as of ``now`` (ms), ``[I]``."""
        self._popularity = popularity
        self._lists: dict[int, tuple[int, Candidates]] = {}
        self._kept_up = False

    def __call__(self, requests: Requests, k: int) -> Candidates:
        if not len(requests) or k == 0:
            return none(len(requests))
        if len(requests) == 1:
            return self._top(int(requests.now[0] // TICK_MS), k)
        ticks, place = np.unique(requests.now // TICK_MS, return_inverse=True)
        top = stack([self._top(int(tick), k) for tick in ticks])
        return _repeated(top, place)

    def keep_up(self, now: int) -> None:
        """Make the list of this minute; from the first call on, requests take the newest list there is."""
        if self._lists:
            _, (k, _) = max(self._lists.items())
            self._made(now // TICK_MS, k)
        self._kept_up = True

    def _top(self, tick: int, k: int) -> Candidates:
        """The best k of a tick, as a batch of 1."""
        made = self._lists.get(tick)
        if self._kept_up and made is None:
            made = self._lists.get(max(self._lists, default=tick))
        if made is None or made[0] < k:
            made = self._made(tick, k)
        if len(made[1]) <= k:
            return made[1]
        return made[1].take(np.arange(k), np.array([0, k], np.int64))

    def _made(self, tick: int, k: int) -> tuple[int, Candidates]:
        """(k, the best of a tick), at least k where there are as many."""
        made = self._lists.get(tick)
        if made is None or made[0] < k:
            count = self._popularity(tick * TICK_MS)
            item = _most(count, k)
            score = np.log1p(count[item]).astype(np.float32)
            made = k, best(np.zeros(len(item), np.int64), item, score, 1, k)
            self._lists = dict([*self._lists.items(), (tick, made)][-TICKS_KEPT:])  # replaced whole: thread-safe
        return made


def _repeated(lists: Candidates, place: Int64) -> Candidates:
    """For request b the rows of list ``place[b]``."""
    size = np.diff(lists.offsets)[place]
    offsets = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    rows = np.repeat(lists.offsets[place] - offsets[:-1], size) + np.arange(offsets[-1])
    return lists.take(rows, offsets)


@compiled("int32[::1](float32[::1], int64)")
def _most(count: Float32, k: int) -> Int32:
    """The items of the k highest counts above 0, and those so close below that their logarithms may be equal."""
    heap = np.zeros(k, np.float32)  # the k highest so far, the lowest of them first
    positive = 0
    for item in range(len(count)):
        if count[item] > 0:
            positive += 1
            if count[item] > heap[0]:
                place = 0
                while 2 * place + 1 < k:
                    child = 2 * place + 1
                    if child + 1 < k and heap[child + 1] < heap[child]:
                        child += 1
                    if heap[child] >= count[item]:
                        break
                    heap[place] = heap[child]
                    place = child
                heap[place] = count[item]
    least = heap[0] * np.float32(1 - CLOSE)
    found = np.empty(positive, np.int32)
    filled = 0
    for item in range(len(count)):
        if count[item] > 0 and count[item] >= least:
            found[filled] = item
            filled += 1
    return found[:filled].copy()
