"""The safety net: what is popular, then what is newest, past the same filters. So no answer is empty in vain."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upnext.compiled import compiled
from upnext.live import Live
from upnext.stages import Filter
from upnext.types import Bool, Candidates, Float32, Int32, Int64, Requests

_LOG = logging.getLogger("upnext.serving")

NEWEST = "newest in the catalogue"
KEPT = 4096  # items of the list
QUICK_S = 0.002
SHARE = 50.0  # times as long as it took to make, a list stays at least
POPULAR = 1 << 62


@dataclass(frozen=True, slots=True)
class Filling:
    """Items for the places that the funnel left empty, how popular each is (0 = chosen as the newest), and why."""

    item: Int32
    popularity: Float32
    reason: Sequence[str]

    @classmethod
    def none(cls) -> Filling:
        return cls(np.empty(0, np.int32), np.empty(0, np.float32), [])

    def __add__(self, other: Filling) -> Filling:
        item, popularity = (self.item, other.item), (self.popularity, other.popularity)
        return Filling(np.concatenate(item), np.concatenate(popularity), [*self.reason, *other.reason])


@dataclass(frozen=True, slots=True)
class _Listed:
    """The first items of the order, how popular each is, what of the log they are as of, and what making them took."""

    item: Int32
    popularity: Float32
    whole: bool  # no item is left out
    stamp: tuple[int, int, int]
    made_at: float  # time.monotonic, s
    cost_s: float

    def old_enough(self, now: float) -> bool:
        """To be made anew: always where that is quick, else after a while."""
        return self.cost_s < QUICK_S or now - self.made_at > SHARE * self.cost_s


class Popular:
    """Calling it gives up to ``k`` items for one request, the most popular first, then the newest.

    A list of the first few thousand is made in one pass over the catalogue: for each request that follows news of
    the log where that is quick, and otherwise only so often that it takes a fiftieth of the time. Whoever calls
    ``keep_up`` now and then takes it off the requests. (An overloaded server fills all its answers from here.)
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._listed: _Listed | None = None

    def __call__(
        self, requests: Requests, filters: Sequence[Filter], k: int, taken: Int32, reason: str = "popular"
    ) -> Filling:
        """``taken`` are items that are in the answer already."""
        if k <= 0:
            return Filling.none()
        listed = self._current()
        pool = 4 * k + len(taken) + len(requests.exclude.item)
        while True:
            if pool > len(listed.item) and not listed.whole:
                listed = self._make(max(pool, KEPT))
            items = listed.item[:pool]
            found = np.flatnonzero(_passing(requests, filters, items) & ~np.isin(items, taken))[:k]
            if len(found) == k or len(items) < pool:
                counts = listed.popularity[found]
                return Filling(items[found], counts, [reason if count > 0 else NEWEST for count in counts.tolist()])
            pool *= 4

    def keep_up(self) -> None:
        """Make the list anew where the log has news and it is time to."""
        self._current()

    def _current(self) -> _Listed:
        listed = self._listed
        if listed is None or (listed.stamp != self._stamp() and listed.old_enough(time.monotonic())):
            listed = self._listed = self._make(KEPT)
        return listed

    def _stamp(self) -> tuple[int, int, int]:
        live = self._live
        return live.offset, live.items_revision, len(live.catalogue())

    def _make(self, size: int) -> _Listed:
        """By item code. As of the newest event: the order is the same at any later time, the numbers would vanish."""
        started, stamp = time.monotonic(), self._stamp()
        published_at = self._live.catalogue().published_at
        counted = self._live.state.popularity(self._live.latest)[: len(published_at)]
        item = first_items(np.ascontiguousarray(counted, np.float32), published_at, size)
        popularity = np.where(item < len(counted), np.take(counted, item, mode="clip"), 0) if len(counted) else item * 0
        now = time.monotonic()
        whole = len(item) == len(published_at)
        return _Listed(item, np.maximum(popularity, 0).astype(np.float32), whole, stamp, now, now - started)


def first_items(popularity: Float32, published_at: Int64, size: int) -> Int32:
    """Codes of up to ``size`` items ``[n]``: by falling popularity above 0, then the newest; of equal ones the lower.

    ``popularity`` may be shorter than ``published_at [I]``, whose further items nobody turned to yet.
    """
    rank, item = _largest(popularity, published_at, min(size, len(published_at)))
    return item[np.lexsort((item, -rank))]


@compiled("Tuple((int64[::1], int32[::1]))(float32[::1], Array(int64, 1, 'A', readonly=True), int64)")
def _largest(popularity: Float32, published_at: Int64, size: int) -> tuple[Int64, Int32]:
    """Ranks and codes of the ``size`` first, in no order: a heap whose first entry is the next to go.

    The bits of a float above 0 order as it does; with POPULAR added they are above any time of publication.
    """
    rank, item = np.empty(size, np.int64), np.empty(size, np.int32)
    one = np.empty(1, np.float32)
    bits = one.view(np.int32)
    filled = 0
    for code in range(len(published_at) if size else 0):
        one[0] = popularity[code] if code < len(popularity) else np.float32(0)
        mine = bits[0] + POPULAR if one[0] > 0 else published_at[code]
        if filled < size:
            place = filled
            filled += 1
            while place > 0 and rank[(place - 1) // 2] >= mine:  # of equal ones the later goes first
                rank[place], item[place] = rank[(place - 1) // 2], item[(place - 1) // 2]
                place = (place - 1) // 2
        elif mine > rank[0]:
            place = 0
            while 2 * place + 1 < size:
                child = 2 * place + 1
                if child + 1 < size and (
                    rank[child + 1] < rank[child] or (rank[child + 1] == rank[child] and item[child + 1] > item[child])
                ):
                    child += 1
                if rank[child] > mine or (rank[child] == mine and item[child] < code):
                    break
                rank[place], item[place] = rank[child], item[child]
                place = child
        else:
            continue
        rank[place], item[place] = mine, code
    return rank, item


def _passing(requests: Requests, filters: Sequence[Filter], items: Int32) -> Bool:
    candidates = Candidates(items, np.array([0, len(items)], np.int64))
    keep = np.ones(len(items), np.bool_)
    for filter_ in filters:
        try:
            keep &= filter_(requests, candidates)
        except Exception:  # as in the pipeline: a filter that fails removes what it guards
            _LOG.exception("filter %s failed", filter_.name)
            return np.zeros(len(items), np.bool_)
    return keep
