"""Just published and not yet tried: what is owed impressions first, then newest, unseen, and fitting the user first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from upnext.candidates.history import preference
from upnext.candidates.keys import best_of_keys, keys_of, without
from upnext.candidates.topk import best, none
from upnext.compiled import compiled
from upnext.config import NewItemsConfig
from upnext.stages import PairScorer
from upnext.types import NO_ITEM, Candidates, Catalogue, Float32, Float64, Int32, Int64, Requests, ragged_rows

DAY_MS = 86_400_000
POOL = 4  # times k: the newest items among which impressions and categories decide
ARRIVALS = 50_000  # of them at least are kept in order, where there are as many: enough for any k but the largest
SPANS = 4096  # steps in which it is looked up how far back they reach
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
        self._max_age = int(config.max_age_days * DAY_MS)
        self._window: _Window | None = None
        self._kept_up = False

    def __call__(self, requests: Requests, k: int) -> Candidates:
        if k == 0 or len(requests) == 0:
            return none(len(requests))
        catalogue, latest = self._catalogue(), POOL * k
        item, published_at = self._arrivals(catalogue, requests.now, latest)
        stop = np.searchsorted(published_at, requests.now, side="right")  # what appears later is unknown now
        start = np.searchsorted(published_at, requests.now - self._max_age, side="right")
        start = np.maximum(start, stop - latest)
        step = max(1, CELLS // latest)
        liked = preference(requests.acted, self._weight, self._least)
        parts = [
            self._fresh(requests, catalogue, liked, item, published_at, start, stop, slice(first, first + step))
            for first in range(0, len(requests), step)
        ]
        owed = self._owed_items(requests, catalogue, liked, int(k * OWED_SHARE))
        first = keys_of(owed.request, owed.item)
        lifted = np.asarray(owed["score"], np.float32) + np.float32(OWED_FIRST)
        parts = [(first, lifted), *(without(key, score, first) for key, score in parts)]
        key, score = (np.concatenate(column) for column in zip(*parts, strict=True))
        return best_of_keys(key, score, len(requests), k)

    def keep_up(self, now: int) -> None:
        """Look through the catalogue if it has changed.

        From the first call on, requests see new items at once, but a publication that moved only after the next call.
        """
        catalogue, known = self._catalogue(), self._window
        if known is not None and known.read is not catalogue:
            self._window = _Window.of(catalogue, now, self._max_age, max(known.fewest, ARRIVALS))
        self._kept_up = True

    def _owed_items(self, requests: Requests, catalogue: Catalogue, liked: Float32, k: int) -> Candidates:
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
        score = PRESSED * urgency[row] + _shares(requests.acted.item, liked, catalogue.category, offsets, item)
        if self._owed.fit is not None:
            score += self._owed.fit.score(requests, Candidates(item, offsets))
        return best(request, item, score.astype(np.float32), batch, k)

    def _fresh(
        self,
        requests: Requests,
        catalogue: Catalogue,
        liked: Float32,
        arrived: Int32,
        at: Int64,
        start: Int64,
        stop: Int64,
        rows: slice,
    ) -> tuple[Int64, Float32]:
        """(key, score) of the arrivals ``start`` to ``stop`` of some requests."""
        size = np.maximum(stop[rows] - start[rows], 0)
        offsets = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
        request = ragged_rows(offsets)
        place = (start[rows] - offsets[:-1])[request] + np.arange(len(request))
        item = arrived[place]
        age = (requests.now[rows][request] - at[place]) / self._max_age
        shown = np.zeros(len(item), np.float32) if self._impressions is None else self._impressions(item)
        share = _shares(requests.acted.item[rows], liked[rows], catalogue.category, offsets, item)
        score = (1 - age) / np.sqrt(1.0 + shown) * (1 + share)
        return keys_of(request + rows.start, item), score.astype(np.float32)

    def _arrivals(self, catalogue: Catalogue, now: Int64, latest: int) -> tuple[Int32, Int64]:
        """Items and when they were published, in that order: the ``latest`` before each ``now`` [B] at least."""
        known, first = self._window, int(now.min())
        if self._kept_up and known is not None and len(known.catalogue) < len(catalogue):
            known = self._window = known.grown(catalogue)
        elif self._kept_up and known is not None and known.catalogue is not catalogue:
            known = self._window = replace(known, catalogue=catalogue)
        if known is None or known.catalogue is not catalogue or not known.reaches(first, self._max_age, latest):
            known = self._window = _Window.of(catalogue, first, self._max_age, max(latest, ARRIVALS))
        return known.item, known.at


@dataclass(frozen=True, slots=True)
class _Window:
    """The latest arrivals of a catalogue: all items that were published after ``since``, and later."""

    catalogue: Catalogue
    read: Catalogue  # the one that was looked through as a whole
    fewest: int  # so many are there at least, where the catalogue has them
    since: int  # ms
    item: Int32  # by publication, then code
    at: Int64

    @classmethod
    def of(cls, catalogue: Catalogue, now: int, max_age: int, fewest: int) -> _Window:
        """What is at most ``max_age`` old at ``now`` or not out yet; of far more than ``fewest``, the latest."""
        since = _latest_since(catalogue.published_at, max(now - max_age, 0), now, fewest)
        item = np.flatnonzero(catalogue.published_at > since).astype(np.int32)
        at = catalogue.published_at[item]
        order = np.argsort(at, kind="stable")
        return cls(catalogue, catalogue, fewest, since, item[order], at[order])

    def grown(self, catalogue: Catalogue) -> _Window:
        """With the items that the catalogue has more by now."""
        more = np.arange(len(self.catalogue), len(catalogue), dtype=np.int32)
        more = more[catalogue.published_at[more] > self.since]
        item = np.concatenate([self.item, more])
        at = np.concatenate([self.at, catalogue.published_at[more]])
        order = np.argsort(at, kind="stable")
        return replace(self, catalogue=catalogue, item=item[order], at=at[order])

    def reaches(self, now: int, max_age: int, latest: int) -> bool:
        """Whether nothing is missing of the ``latest`` items that are new at ``now``."""
        return self.since <= max(now - max_age, 0) or int(np.searchsorted(self.at, now, side="right")) >= latest


@compiled("int64(int64[::1], int64, int64, int64)")
def _latest_since(published_at: Int64, since: int, now: int, fewest: int) -> int:
    """A time from ``since`` on, as late as may be, with at least ``fewest`` items after it and up to ``now``."""
    width = (now - since) // SPANS + 1
    count = np.zeros(SPANS + 1, np.int64)
    for item in range(len(published_at)):
        if since < published_at[item] <= now:
            count[(published_at[item] - since - 1) // width] += 1
    found = 0
    for span in range(SPANS, -1, -1):
        found += count[span]
        if found >= fewest:
            return since + span * width
    return since


@compiled("float32[::1](int32[:, :], float32[:, :], int32[:, ::1], int64[::1], int32[::1])")
def _shares(history: Int32, liked: Float32, category: Int32, offsets: Int64, item: Int32) -> Float32:
    """The share of each request's liked history ``[B, K]`` with the main category of each row's item: ``[N]``.

    Items are ragged by ``offsets``; what has no category, in the history or among them, has no share.
    """
    share = np.zeros(len(item), np.float32)
    known, count = np.empty(history.shape[1], np.int32), np.empty(history.shape[1], np.int64)
    for request in range(len(offsets) - 1):
        kinds = total = 0
        for slot in range(history.shape[1]):
            if not (liked[request, slot] > 0 and 0 <= history[request, slot] < len(category)):
                continue
            main = category[history[request, slot], 0]
            if main == NO_ITEM:
                continue
            total += 1
            kind = 0
            while kind < kinds and known[kind] != main:
                kind += 1
            if kind == kinds:
                known[kind], count[kind] = main, 0
                kinds += 1
            count[kind] += 1
        for row in range(offsets[request], offsets[request + 1]):
            main = category[item[row], 0]
            for kind in range(kinds):
                if known[kind] == main:
                    share[row] = count[kind] / total
    return share
