"""The safety net: what is popular, then what is newest, past the same filters. So no answer is empty in vain."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upnext.live import Live
from upnext.stages import Filter
from upnext.types import Bool, Candidates, Float32, Int32, Int64, Requests

_LOG = logging.getLogger("upnext.serving")

NEWEST = "newest in the catalogue"


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


class Popular:
    """Calling it gives up to ``k`` items for one request, the most popular first, then the newest."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def __call__(
        self, requests: Requests, filters: Sequence[Filter], k: int, taken: Int32, reason: str = "popular"
    ) -> Filling:
        """``taken`` are items that are in the answer already."""
        if k <= 0:
            return Filling.none()
        popularity = self._popularity()
        pool = 4 * k + len(taken) + len(requests.exclude.item)
        while True:
            items = _best(popularity, self._live.catalogue().published_at, pool)
            found = items[_passing(requests, filters, items) & ~np.isin(items, taken)][:k]
            if len(found) == k or len(items) < pool:
                counts = popularity[found]
                return Filling(found, counts, [reason if count > 0 else NEWEST for count in counts.tolist()])
            pool *= 4

    def _popularity(self) -> Float32:
        """By item code. As of the newest event: the order is the same at any later time, the numbers would vanish."""
        size = len(self._live.catalogue())
        counted = self._live.state.popularity(self._live.latest)[:size]
        return np.pad(np.maximum(counted, 0), (0, size - len(counted)))


def _best(popularity: Float32, published_at: Int64, size: int) -> Int32:
    popular = _top(np.flatnonzero(popularity > 0), popularity, size)
    newest = _top(np.flatnonzero(popularity <= 0), published_at[: len(popularity)], size - len(popular))
    return np.concatenate([popular, newest]).astype(np.int32)


def _top(rows: Int64, key: Float32 | Int64, size: int) -> Int64:
    """The ``size`` rows of largest key, in falling order; equal ones by row, where all are wanted."""
    if len(rows) > size:
        rows = np.sort(rows[np.argpartition(-key[rows], size)[:size]])
    return rows[np.argsort(-key[rows], kind="stable")]


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
