"""The feature state: everything the funnel knows of users and items now. A view that tails the log.

What a user just did counts at once (histories, seen items). Counters that many users share advance in ticks: a
request reads the last closed tick, so that replay can read the very same numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from upnext.compiled import compiled
from upnext.config import FeaturesConfig
from upnext.features.counters import Counters
from upnext.features.histories import LastK
from upnext.features.pairs import UserItems
from upnext.features.rates import rates
from upnext.features.roles import IMPRESSION, POSITIVE, EventRoles
from upnext.types import EVENT_COLUMNS, Catalogue, Events, Float32, Float64, History, Int32, Int64

STALE_MS = 86_400_000
NONE_WAITS = 1 << 62  # ms, later than any time
PRIOR = 20.0  # impressions that the author's rate counts for in an item's quality


Ticks = TypeVar("Ticks", Int64, np.int64)


@dataclass(frozen=True, slots=True)
class Known:
    """What the counters said for N rows and B requests, as of each request's last closed tick: ``rates.rates``."""

    item: Float32  # [N, R]
    author: Float32  # [N, R]
    category: Float32  # [N, R]
    user: Float32  # [B, R]


class FeatureState:
    """Thread-safe: applying and reading take turns under one lock, each for well under a millisecond."""

    def __init__(
        self,
        config: FeaturesConfig,
        roles: EventRoles,
        catalogue: Callable[[], Catalogue],
        trending_half_life_hours: float = 24.0,
    ) -> None:
        self.roles = roles
        self._catalogue = catalogue
        self._tick = config.tick_seconds * 1000
        self._lock = threading.RLock()
        self._pending: list[Events] = []
        self._oldest = NONE_WAITS  # received_at of the first of them
        self._latest = 0  # received_at of the newest event counted
        self._served_since = 0  # received_at of the first impression that this system served; 0 = none yet
        columns = len(roles.columns)
        self._item, self._author, self._category, self._user, self._overall = (
            Counters(columns, config.half_lives_days) for _ in range(5)
        )
        self._overall.grow(1)
        self._trend = Counters(1, (trending_half_life_hours / 24,))
        self._impressions = np.zeros(0, np.float32)
        self.acted = LastK(config.history_size)
        self.shown = LastK(config.history_size)
        self.seen = UserItems()
        self.hidden = UserItems()

    def tick(self, now: Ticks) -> Ticks:
        """The end of the last closed tick at ``now``, ms."""
        return now // self._tick * self._tick

    def apply(self, events: Events) -> None:
        """Take over events in log order."""
        if not len(events):
            return
        with self._lock:
            self._wait(events)
            self._apply_now(events)

    def advance(self, now: int) -> None:
        """Bring shared counters up to the last closed tick at ``now``."""
        tick = now // self._tick * self._tick
        with self._lock:
            if self._oldest >= tick:  # every request asks, and a tick may hold a million events: none is looked at
                return
            pending = Events.concat(self._pending)
            due = pending.received_at < tick
            self._pending, self._oldest = [], NONE_WAITS
            if not due.all():
                self._wait(pending.take(~due))
            self.count(Tally.of(pending.take(due), self.roles, self._catalogue()))

    def _wait(self, events: Events) -> None:
        """Keep events until the tick in which they were received is closed."""
        self._pending.append(events)
        self._oldest = min(self._oldest, int(events.received_at.min()))

    def histories(self, users: Int32) -> tuple[History, History]:
        """(acted, shown) of ``users`` as of now."""
        with self._lock:
            return self.acted.read(users), self.shown.read(users)

    def read(self, items: Int32, row: Int64, users: Int32, now: Int64) -> Known:
        """Counters for items ``[N]``, ``row[n]`` being the request of row n, users and now ``[B]``."""
        author, category = item_groups(self._catalogue(), items)
        with self._lock:
            tick = self._clock(now)
            overall = self._overall.read(np.zeros(len(tick), np.int64), tick)
            return Known(
                rates(self._item, items, row, tick, overall),
                rates(self._author, author, row, tick, overall),
                rates(self._category, category, row, tick, overall),
                rates(self._user, users, np.arange(len(users)), tick, overall),
            )

    def _clock(self, now: Ticks) -> Ticks:
        """The last closed tick, but no later than STALE_MS after the newest event counted.

        While nothing happens the counters do not decay: a log that ended long ago still says what is popular.
        """
        return np.minimum(self.tick(now), self.tick(np.int64(self._latest)) + STALE_MS)

    def popularity(self, now: int) -> Float32:
        """Decayed positive events of every item, with the half-life of trending, ``[items counted so far]``."""
        with self._lock:
            return self._trend.all(0, 0, int(self._clock(np.int64(now))))

    def positives(self, now: int, size: int) -> Float32:
        """Positive events of items 0 .. size-1, decayed by the longest half-life of the features."""
        with self._lock:
            found = self._item.all(POSITIVE, -1, int(self._clock(np.int64(now))))
        return np.pad(found[:size], (0, max(size - len(found), 0)))

    def quality(self, now: int, size: int) -> Float32:
        """Expected positive events an impression of items 0 .. size-1, shrunk towards their author's and the overall.

        Where the log has no impressions: log counts of positive events, over the largest.
        """
        author = item_groups(self._catalogue(), np.arange(size, dtype=np.int32))[0]
        with self._lock:
            now = int(self._clock(np.int64(now)))
            shown, taken = (self._item.all(column, -1, now) for column in (IMPRESSION, POSITIVE))
            by_author = [self._author.all(column, -1, now) for column in (IMPRESSION, POSITIVE)]
            overall = [float(self._overall.all(column, -1, now)[0]) for column in (IMPRESSION, POSITIVE)]
        shown, taken = (np.pad(found[:size], (0, max(size - len(found), 0))) for found in (shown, taken))
        if overall[0] < 1:
            return (np.log1p(taken) / max(float(np.log1p(taken.max(initial=0))), 1e-9)).astype(np.float32)
        rate = (by_author[1] + PRIOR * overall[1] / overall[0]) / (by_author[0] + PRIOR)
        known = (author >= 0) & (author < len(rate))
        prior = np.where(known, rate[np.where(known, author, 0)] if len(rate) else 0, overall[1] / overall[0])
        return ((taken + PRIOR * prior) / (shown + PRIOR)).astype(np.float32)

    @property
    def served_since(self) -> int | None:
        """When the first impression that this system itself served was received, Unix ms; None = there is none."""
        return self._served_since or None

    def impressions(self, items: Int32) -> Float32:
        """How often each item was ever shown, ``[N]``; at once, not by ticks."""
        with self._lock:
            known = (items >= 0) & (items < len(self._impressions))
            return (
                np.where(known, self._impressions[np.where(known, items, 0)], 0)
                if known.any()
                else np.zeros(len(items), np.float32)
            )

    def dump(self) -> dict[str, NDArray[Any]]:
        """All of it, as copies that belong to one moment: no event is half in it."""
        with self._lock:
            parts = {name: part.dump() for name, part in self._parts().items()}
            pending = Events.concat(self._pending) if self._pending else Events.empty()
            parts["pending"] = {name: getattr(pending, name).copy() for name in EVENT_COLUMNS}
            times = np.array([self._latest, self._served_since])
            parts["own"] = {"times": times, "impressions": self._impressions.copy()}
        return {f"{part}.{name}": column for part, columns in parts.items() for name, column in columns.items()}

    def load(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Make this, a new state, what was dumped from one of the same settings."""
        split: dict[str, dict[str, NDArray[Any]]] = {}
        for full, column in columns.items():
            part, _, name = full.partition(".")
            split.setdefault(part, {})[name] = column
        with self._lock:
            for name, part in self._parts().items():
                part.load(split[name])
            pending = Events(**split["pending"])
            self._pending, self._oldest = [], NONE_WAITS
            if len(pending):
                self._wait(pending)
            self._latest, self._served_since = split["own"]["times"].tolist()
            self._impressions = split["own"]["impressions"]

    def _parts(self) -> dict[str, Any]:
        """The stores with a ``dump`` and a ``load`` of their own."""
        return {
            "item": self._item, "author": self._author, "category": self._category, "user": self._user,
            "overall": self._overall, "trend": self._trend, "acted": self.acted, "shown": self.shown,
            "seen": self.seen, "hidden": self.hidden,
        }  # fmt: skip

    def _apply_now(self, events: Events) -> None:
        shown = self.roles.is_shown[events.type]
        preference = self.roles.preference(events.type, np.full(len(events), np.nan, np.float32))
        self.shown.append(events.take(shown))
        self.acted.append(events.take(~shown))
        for pairs, mask in ((self.seen, preference > 0), (self.hidden, preference < 0)):
            rows = np.flatnonzero(mask)
            pairs.add(events.user[rows], events.item[rows])
        if not self._served_since and len(served := np.flatnonzero(shown & (events.as_of >= 0))):
            self._served_since = int(events.received_at[served[0]])
        items = events.item[shown & (events.item >= 0)]
        if len(items):
            size = int(items.max()) + 1
            if size > len(self._impressions):
                grown = np.zeros(max(size, 2 * len(self._impressions)), np.float32)
                grown[: len(self._impressions)] = self._impressions
                self._impressions = grown
            np.add.at(self._impressions, items, 1)

    def count(self, tally: Tally) -> None:
        """Add to the shared counters."""
        with self._lock:
            self._latest = max(self._latest, int(tally.at.max(initial=0)))
            self._item.add(tally.item, tally.column, tally.amount, tally.at)
            self._author.add(tally.author, tally.column, tally.amount, tally.at)
            self._category.add(tally.category, tally.column, tally.amount, tally.at)
            self._user.add(tally.user, tally.column, tally.amount, tally.at)
            self._overall.add(np.zeros_like(tally.item), tally.column, tally.amount, tally.at)
            of = tally.column == POSITIVE
            first = np.zeros(int(of.sum()), np.int64)
            self._trend.add(tally.item[of], first, tally.amount[of], tally.at[of])


@dataclass(frozen=True, slots=True)
class Tally:
    """What a run of events adds to the counters, in log order: one row a (event, column)."""

    event: Int64  # place of the event in the run
    column: Int64
    amount: Float64
    item: Int32
    author: Int32
    category: Int32
    user: Int32
    at: Int64

    @classmethod
    def of(cls, events: Events, roles: EventRoles, catalogue: Catalogue) -> Tally:
        row, column, amount = roles.counts(events.type, events.value)
        items = events.item[row]
        author, category = item_groups(catalogue, items)
        return cls(row, column, amount, items, author, category, events.user[row], events.received_at[row])

    def of_events(self, start: int, stop: int) -> Tally:
        """The part that events start .. stop-1 of the run add."""
        part = slice(*np.searchsorted(self.event, [start, stop]))
        return Tally(*(getattr(self, name)[part] for name in Tally.__slots__))


def item_groups(catalogue: Catalogue, items: Int32) -> tuple[Int32, Int32]:
    """Author and main category of each item; -1 where the item is not (yet) in the catalogue."""
    author, category = np.empty(len(items), np.int32), np.empty(len(items), np.int32)
    _look_up(catalogue.author, catalogue.category, items, author, category)
    return author, category


@compiled("void(int32[:], int32[:, :], int32[:], int32[::1], int32[::1])")
def _look_up(of_author: Int32, of_category: Int32, items: Int32, author: Int32, category: Int32) -> None:
    for n, item in enumerate(items):
        known = 0 <= item < len(of_author)
        author[n] = of_author[item] if known else -1
        category[n] = of_category[item, 0] if known else -1
