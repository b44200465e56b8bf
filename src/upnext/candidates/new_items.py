"""Just published and not yet tried: what is owed impressions first, then newest, unseen, and fitting the user first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upnext.candidates.history import preference
from upnext.candidates.topk import best, none, stack
from upnext.config import NewItemsConfig
from upnext.stages import PairScorer
from upnext.types import NO_ITEM, Bool, Candidates, Catalogue, Float32, Float64, Int32, Int64, Requests

DAY_MS = 86_400_000
POOL = 4  # times k: the newest items among which impressions and categories decide
CELLS = 1 << 21  # (request, item) pairs looked at at once
OWED_SHARE = 0.5  # of the places, at most, for items that are owed impressions
OWED_FIRST = 3.0  # lifts their scores above those of all others, which are below 2
PRESSED = 0.25  # fit, in cosines, that one standard deviation of urgency makes up for


@dataclass(frozen=True, slots=True)
class Owed:
    """New items that are owed impressions, whoever keeps the account of them."""

    items: Callable[[int], Int32]  # (now) -> the few that may be, by code
    urgency: Callable[[Int32, Int64], Float64]  # (items [N], now [N]) -> how pressing [N], NaN = owed nothing
    fit: PairScorer | None = None  # how well an item fits a user, [-1, 1]; None = by category alone


class NewItems:
    """Source. A score is freshness (1 at publication, 0 at ``max_age_days``) / sqrt(1 + impressions) * (1 + affinity).

    Affinity is the share of the user's positive history with the item's main category. Items that are owed
    impressions come first, in up to OWED_SHARE of the places: those that fit the user best or are most pressed.
    """

    name = "new_items"

    def __init__(
        self,
        config: NewItemsConfig,
        catalogue: Callable[[], Catalogue],
        weight: Float32,
        least: Float32,
        impressions: Callable[[Int32], Float32] | None = None,
        owed: Owed | None = None,
    ) -> None:
        """``impressions(items)`` says how often each was shown; ``weight`` and ``least`` are by event type code."""
        self._config = config
        self._catalogue = catalogue
        self._weight, self._least = weight, least
        self._impressions = impressions
        self._owed = owed
        self._sorted: tuple[Catalogue, Int32, Int64] | None = None

    def __call__(self, requests: Requests, k: int) -> Candidates:
        if k == 0 or len(requests) == 0:
            return none(len(requests))
        catalogue, item, published_at = self._by_time()
        stop = np.searchsorted(published_at, requests.now, side="right")  # what appears later is unknown now
        oldest = requests.now - int(self._config.max_age_days * DAY_MS)
        start = np.searchsorted(published_at, oldest, side="right")
        start = np.maximum(start, stop - POOL * k)
        step = max(1, CELLS // (POOL * k))
        parts = [
            self._slice(requests, catalogue, item, start[rows], stop[rows], rows, k)
            for rows in (slice(first, first + step) for first in range(0, len(requests), step))
        ]
        return self._with_owed(requests, catalogue, stack(parts), k)

    def _with_owed(self, requests: Requests, catalogue: Catalogue, others: Candidates, k: int) -> Candidates:
        first = self._owed_items(requests, catalogue, int(k * OWED_SHARE))
        if not len(first):
            return others
        request = np.concatenate([first.request, others.request])
        item = np.concatenate([first.item, others.item])
        score = np.concatenate([np.asarray(first["score"], np.float32) + np.float32(OWED_FIRST), others["score"]])
        _, row = np.unique(request << 32 | item, return_index=True)  # the first of the same: as owed
        return best(request[row], item[row], score[row], len(requests), k)

    def _owed_items(self, requests: Requests, catalogue: Catalogue, k: int) -> Candidates:
        """The owed items that fit each user best, with ``score`` in [-1, 2] plus urgency."""
        items = np.empty(0, np.int32) if self._owed is None else self._owed.items(int(requests.now.min()))
        items = items[items < len(catalogue)]
        if self._owed is None or k == 0 or not len(items):
            return none(len(requests))
        batch = len(requests)
        request, item = np.repeat(np.arange(batch), len(items)), np.tile(items, batch)
        urgency = self._owed.urgency(item, requests.now[request])
        row = np.flatnonzero(~np.isnan(urgency))
        request, item = request[row], item[row]
        offsets = np.searchsorted(request, np.arange(batch + 1)).astype(np.int64)
        score = PRESSED * urgency[row] + self._affinity(requests, catalogue, request, item, slice(None))
        if self._owed.fit is not None:
            score += self._owed.fit.score(requests, Candidates(item, offsets))
        return best(request, item, score.astype(np.float32), batch, k)

    def _slice(
        self, requests: Requests, catalogue: Catalogue, by_time: Int32, start: Int64, stop: Int64, rows: slice, k: int
    ) -> Candidates:
        size = stop - start
        if not size.any():
            return none(len(size))
        request = np.repeat(np.arange(len(size)), size)
        place = np.repeat(start - (np.cumsum(size) - size), size) + np.arange(size.sum())
        item = by_time[place]
        age = (requests.now[rows][request] - catalogue.published_at[item]) / (self._config.max_age_days * DAY_MS)
        shown = np.zeros(len(item)) if self._impressions is None else self._impressions(item)
        score = (1 - age) / np.sqrt(1 + shown) * (1 + self._affinity(requests, catalogue, request, item, rows))
        order = np.lexsort((item, request))
        return best(request[order], item[order], score[order].astype(np.float32), len(size), k)

    def _affinity(self, requests: Requests, catalogue: Catalogue, request: Int64, item: Int32, rows: slice) -> Float32:
        history = requests.acted.take(rows)
        liked = (preference(history, self._weight, self._least) > 0) & (history.item < len(catalogue))
        category = np.where(liked, catalogue.category[np.where(liked, history.item, 0), 0], NO_ITEM)
        counted = category != NO_ITEM
        owner, slot = np.nonzero(counted)
        keys, count = np.unique(owner.astype(np.int64) << 32 | category[owner, slot], return_counts=True)
        main = catalogue.category[item, 0]
        if not len(keys):
            return np.zeros(len(item), np.float32)
        wanted = np.where(main != NO_ITEM, request << 32 | main, -1)
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        share = count[found] / np.maximum(1, np.count_nonzero(counted, axis=1))[request]
        return np.where(keys[found] == wanted, share, 0).astype(np.float32)

    def _by_time(self) -> tuple[Catalogue, Int32, Int64]:
        """Items with a known publication time in its order; sorted again when the catalogue is another one."""
        catalogue, known = self._catalogue(), self._sorted
        if known is not None and known[0] is catalogue:
            return known
        dated: Bool = catalogue.published_at > 0
        item = np.flatnonzero(dated).astype(np.int32)
        item = item[np.argsort(catalogue.published_at[item], kind="stable")]
        fresh = catalogue, item, catalogue.published_at[item]
        self._sorted = fresh
        return fresh
