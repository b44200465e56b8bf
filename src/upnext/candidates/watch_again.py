"""Watch it again: continue what was left unfinished, newest first; then what this user keeps coming back to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from upnext.candidates.history import preference
from upnext.candidates.topk import best, none
from upnext.config import WatchAgainConfig
from upnext.types import NO_ITEM, Bool, Candidates, Catalogue, Float32, Int32, Int64, Requests

SITTING_MS = 30 * 60 * 1000  # events of an item further apart than this belong to two sittings


class WatchAgain:
    """Source. Scores: 1 to 2 = to be continued, the later watched the higher; below 1 = 1 - 1 / sittings."""

    name = "watch_again"

    def __init__(
        self,
        config: WatchAgainConfig,
        catalogue: Callable[[], Catalogue],
        watch_types: Sequence[int],
        weight: Float32,
        least: Float32,
    ) -> None:
        """``watch_types``: codes of the events whose value is seconds watched; ``weight``, ``least`` by type code."""
        self._config = config
        self._catalogue = catalogue
        self._watch_types = np.asarray(watch_types, np.int16)
        self._weight, self._least = weight, least

    def __call__(self, requests: Requests, k: int) -> Candidates:
        history, (batch, size) = requests.acted, requests.acted.item.shape
        request, slot = np.nonzero(preference(history, self._weight, self._least))
        if k == 0 or not len(request):
            return none(batch)
        item = history.item[request, slot]
        order = np.lexsort((slot, item, request))
        request, slot, item = request[order], slot[order], item[order]
        first = np.flatnonzero(np.concatenate([[True], (item[1:] != item[:-1]) | (request[1:] != request[:-1])]))
        at, event, value = (column[request, slot] for column in (history.at, history.event, history.value))
        watched = np.isin(event, self._watch_types) & ~np.isnan(value)
        seconds = np.add.reduceat(np.where(watched, value, 0), first)
        opens = np.append(True, np.diff(at) > SITTING_MS)
        opens[first] = True  # an item's first event opens a sitting
        sittings = np.add.reduceat(opens.astype(np.int64), first)
        last = np.append(first[1:], len(item)) - 1
        request, item = request[first], item[first]
        unfinished = np.logical_or.reduceat(watched, first) & self._unfinished(item, seconds)
        wanted = unfinished | (sittings >= self._config.min_repeats)
        wanted &= (item < len(self._catalogue())) & ~self._disliked(requests, request, item)
        score = np.where(unfinished, 1 + (slot[last] + 1) / size, 1 - 1 / sittings).astype(np.float32)
        return best(request[wanted], item[wanted], score[wanted], batch, k)

    def _unfinished(self, item: Int32, seconds: Float32) -> Bool:
        """All watches in the history together fall short of a long item's end; unknown durations are not long."""
        catalogue = self._catalogue()
        known = item < len(catalogue)
        duration = np.full(len(item), np.nan, np.float32)
        duration[known] = catalogue.duration[item[known]]
        return (duration >= self._config.min_duration) & (seconds < self._config.finished_from * duration)

    def _disliked(self, requests: Requests, request: Int64, item: Int32) -> Bool:
        """Whether the request's history also holds an event against the item."""
        event = requests.acted.event
        known = (requests.acted.item != NO_ITEM) & (event >= 0) & (event < len(self._weight))
        row, slot = np.nonzero(known & (self._weight[np.where(known, event, 0)] < 0))
        against = row.astype(np.int64) << 32 | requests.acted.item[row, slot]
        return np.isin(request << 32 | item, against)
