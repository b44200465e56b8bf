"""What new items are owed: N impressions each within T hours of their arrival, from a budget of all slots.

Requests read a short list of open claims. It is made from the catalogue once, and kept up by what changes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upnext.compiled import compiled
from upnext.config import ExplorationConfig
from upnext.features.traffic import Traffic
from upnext.types import Bool, Catalogue, Events, Float32, Float64, Int32, Int64

HOUR_MS = 3_600_000
REFRESH_MS = 30_000  # how old the list may be; whether a claim is open is asked anew by every request
MOST = 200_000  # claims kept, the latest arrivals: more than that is a bulk import
LISTED = 1024  # of them, those that opened first are what a request looks through
PLANNED = 0.8  # of the time, for all impressions: the rest is for what fell behind
GAIN = 4.0  # standard deviations of utility that being e times too slow is worth
SLOWEST = 10.0  # how many times too slow an item counts at most
WINDOW_MS = 6 * HOUR_MS  # half-life of the account of slots
COST_WINDOW_MS = 24 * HOUR_MS  # half-life of the account of cost: a day's quiet hours pay for its busy ones
FEWEST = 1.0  # impressions in the account below which nothing can be said of shares


@dataclass(frozen=True, slots=True)
class Claims:
    """Items whose promise is open, or will be when they are published, by code."""

    item: Int32  # [E], ascending
    opened: Int64  # [E], ms
    listed: Int32  # those that requests look through
    at: int  # when the list was made

    @classmethod
    def none(cls) -> Claims:
        return cls(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int32), 0)


@dataclass(frozen=True, slots=True)
class Standing:
    """The promise in numbers, as of the newest list of claims."""

    owed: int  # items with an open claim
    behind: int  # of them, those that had fewer impressions than planned by then
    kept: int  # claims that ended with all impressions
    broken: int  # claims that ran out with fewer
    used: float  # share of the latest slots that went to owed items
    explored: int  # slots that were drawn
    loss: float  # utility that drawing them is estimated to have cost
    utility: float  # of all slates, as they would have been without


class Promises:
    """Thread-safe. An item that did not get its impressions in time is owed nothing any more: its claim lapses.

    A claim opens at publication, or, for an item that came into the catalogue while this runs, when it came. What
    was published before this system began to serve is owed nothing, and so is an item of unknown publication that
    was there before.
    """

    def __init__(
        self,
        config: ExplorationConfig,
        catalogue: Callable[[], Catalogue],
        impressions: Callable[[Int32], Float32],
        is_impression: Bool,
        served_since: Callable[[], int | None] = lambda: None,
    ) -> None:
        """``impressions(items)`` says how often each was ever shown; ``is_impression`` is by event type code.

        ``served_since()`` is when this system began to serve (Unix ms), None = now.
        """
        self._config, self._catalogue, self._impressions = config, catalogue, impressions
        self._is_impression = is_impression
        self._served_since = served_since
        self._started: int | None = None  # when it was first asked
        self._span = int(config.within_hours * HOUR_MS)
        self._traffic = Traffic(self._span)
        self._claims = Claims.none()
        self._size = -1  # items that the list was made of; -1 = no list yet
        self._came: list[Int32] = []
        self._lock = threading.RLock()
        self._shown = self._owed = 0.0  # impressions in the account, and those of owed items among them
        self._counted_at = 0
        self._kept = self._broken = self._explored = 0
        self._loss = self._utility = 0.0
        self._late_loss = self._late_utility = 0.0  # the same, fading
        self._spent_at = 0

    @property
    def active(self) -> bool:
        return self._config.budget > 0 and self._config.max_impressions > 0

    def retune(self, config: ExplorationConfig) -> None:
        """From now on under another budget; how long a promise is open stays as it is."""
        self._config = config

    # -- what requests read

    def open_claims(self, now: int) -> Int32:
        """Items that may be owed impressions at ``now``, by code: few, whatever the size of the catalogue."""
        return self._current(now).listed if self.active else np.empty(0, np.int32)

    def urgency(self, items: Int32, now: Int64) -> Float64:
        """How pressing each item's claim is at ``now [N]``, in standard deviations of utility; NaN = owed nothing.

        ``GAIN * ln(r)``, 0 at least: r is the pace that the item now needs, over the pace that it was planned with.
        Paces are by the visitors, not by the hours.
        """
        found = np.full(len(items), np.nan)
        if not self.active or not len(items):
            return found
        claims = self._current(int(now.min()))
        if not len(claims.item):
            return found
        row, opened = _running(claims.item, claims.opened, items, now, self._span)
        with self._lock:
            age = self._traffic.age(opened, now[row])
        got = (self._impressions(items[row]) / self._config.max_impressions).astype(np.float64)
        found[row] = np.where(got < 1, pressing(age, got), np.nan)
        return found

    def keep_up(self, now: int) -> None:
        """Make the list anew before it is so old that a request would have to."""
        with self._lock:
            if self.active and self._size >= 0 and now - self._claims.at >= REFRESH_MS // 2:
                self._claims = self._kept_up(max(now, self._claims.at))

    def affordable(self) -> bool:
        """Whether the latest slots leave something of the budget, and what they cost something of what they may."""
        with self._lock:
            within = self._owed < self._config.budget * self._shown
            return self.active and within and self._late_loss <= self._config.max_cost * self._late_utility

    # -- what they are told

    def changed(self, items: Int32) -> None:
        """Items that are new in the catalogue, or whose publication may have changed."""
        if len(items) and self.active:
            with self._lock:
                if self._size >= 0:
                    self._came.append(items)

    def count(self, events: Events) -> None:
        """Take over events in log order, after the impressions were counted: the account of slots."""
        with self._lock:
            shown = events.take(self._is_impression[events.type] & (events.item >= 0))
            self._traffic.add(shown.received_at)
            if self._size < 0 or not len(shown):
                return
            place = np.searchsorted(self._claims.item, shown.item)
            place = np.minimum(place, max(len(self._claims.item) - 1, 0))
            owed = len(self._claims.item) > 0 and self._claims.item[place] == shown.item
            now = int(shown.received_at[-1])
            fade = 0.5 ** (max(now - self._counted_at, 0) / WINDOW_MS)
            self._counted_at = max(self._counted_at, now)
            self._shown = fade * self._shown + len(shown)
            self._owed = fade * self._owed + float(np.count_nonzero(owed))

    def spent(self, explored: int, loss: float, utility: float, now: int) -> None:
        """What answers drew at ``now``, what that is estimated to cost, and what they would have been worth without."""
        with self._lock:
            fade = 0.5 ** (max(now - self._spent_at, 0) / COST_WINDOW_MS)
            self._spent_at = max(self._spent_at, now)
            self._late_loss = fade * self._late_loss + loss
            self._late_utility = fade * self._late_utility + utility
            self._explored += explored
            self._loss += loss
            self._utility += utility

    def standing(self) -> Standing:
        with self._lock:
            claims = self._claims
            now = np.full(len(claims.item), claims.at)
            urgency = self.urgency(claims.item, now)
            used = self._owed / self._shown if self._shown >= FEWEST else 0.0
            return Standing(
                int(np.count_nonzero(~np.isnan(urgency))),
                int(np.count_nonzero(urgency > 0)),
                self._kept,
                self._broken,
                used,
                self._explored,
                self._loss,
                self._utility,
            )

    # -- the list

    def _current(self, now: int) -> Claims:
        """The claims for requests at ``now`` or soon after; time that jumps back starts the list anew."""
        claims = self._claims
        if self._size >= 0 and not self._came and abs(now - claims.at) < REFRESH_MS:
            return claims
        with self._lock:
            if self._size < 0 or now <= self._claims.at - REFRESH_MS:
                self._claims = self._from_catalogue(now)
            elif self._came or now - self._claims.at >= REFRESH_MS:
                self._claims = self._kept_up(max(now, self._claims.at))
            return self._claims

    def _from_catalogue(self, now: int) -> Claims:
        catalogue = self._catalogue()
        self._size, self._came = len(catalogue), []
        item = np.flatnonzero(catalogue.published_at > now - self._span).astype(np.int32)
        return self._open(item, catalogue.published_at[item], now, catalogue)

    def _kept_up(self, now: int) -> Claims:
        catalogue, claims = self._catalogue(), self._claims
        self._settle(claims.item, claims.opened, now)
        if not self._came:
            return self._open(claims.item, claims.opened, now, catalogue)
        came = np.unique(np.concatenate([np.empty(0, np.int32), *self._came]))
        came = came[came < len(catalogue)]
        published = catalogue.published_at[came]
        opened = np.where(came >= self._size, np.maximum(published, now), published)
        self._size, self._came = max(self._size, len(catalogue)), []
        fresh = ~np.isin(came, claims.item) | (published > now)  # a known claim goes on, unless it was put off
        stays = ~np.isin(claims.item, came[fresh])
        item = np.concatenate([claims.item[stays], came[fresh]])
        return self._open(item, np.concatenate([claims.opened[stays], opened[fresh]]), now, catalogue)

    def _began(self, now: int) -> int:
        """Since when there are promises: what another system left behind would take the chances of what is new."""
        self._started = now if self._started is None else min(self._started, now)
        since = self._served_since()
        return self._started if since is None else min(since, self._started)

    def _settle(self, item: Int32, opened: Int64, now: int) -> None:
        """Count the claims that have ended."""
        served = self._impressions(item) >= self._config.max_impressions
        self._kept += int(np.count_nonzero(served))
        self._broken += int(np.count_nonzero(~served & (opened <= now - self._span)))

    def _open(self, item: Int32, opened: Int64, now: int, catalogue: Catalogue) -> Claims:
        """Without what has all its impressions, what ran out of time, and what may not be shown."""
        wanting = (self._impressions(item) < self._config.max_impressions) & (opened > now - self._span)
        wanting &= opened >= self._began(now)
        row = np.flatnonzero(wanting & catalogue.available[item])
        row = row[np.argsort(opened[row], kind="stable")][-MOST:]
        listed = np.sort(item[row[:LISTED]])
        row = row[np.argsort(item[row])]
        return Claims(item[row], opened[row], listed, now)


@compiled("float64[::1](float64[::1], float64[::1])")
def pressing(age: Float64, got: Float64) -> Float64:
    """Urgency of a claim: ``age`` in parts of its time, ``got`` in parts of its impressions."""
    urgency = np.empty(len(age))
    for row in range(len(age)):
        left = max(1 - age[row] / PLANNED, 1e-6)
        urgency[row] = GAIN * np.log(min(max((1 - got[row]) / left, 1.0), SLOWEST))
    return urgency


@compiled("Tuple((int64[::1], int64[::1]))(int32[::1], int64[::1], int32[::1], int64[:], int64)")
def _running(claimed: Int32, opened: Int64, items: Int32, now: Int64, span: int) -> tuple[Int64, Int64]:
    """Rows of ``items [N]`` whose claim is running at ``now [N]``, and when (ms) each of these claims opened.

    The claims are ``claimed [E]``, ascending, and when each ``opened``; they run for ``span`` (ms).
    """
    row, since = np.empty(len(items), np.int64), np.empty(len(items), np.int64)
    filled = 0
    for n in range(len(items)):
        low, high = 0, len(claimed)
        while low < high:
            middle = (low + high) // 2
            if claimed[middle] < items[n]:
                low = middle + 1
            else:
                high = middle
        if low < len(claimed) and claimed[low] == items[n] and 0 <= now[n] - opened[low] < span:
            row[filled], since[filled] = n, opened[low]
            filled += 1
    return row[:filled].copy(), since[:filled].copy()
