"""The offline half: the same features for past moments, by running the log through the same state.

Counters advance tick by tick through ``FeatureState``; histories are cut out of the whole log at each moment's
position. So a replayed matrix equals the served one bit for bit, and nothing later than the moment can reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from upnext.config import FeaturesConfig
from upnext.features.definitions import Inputs, compute, groups
from upnext.features.histories import HistoryIndex
from upnext.features.rates import rate_names
from upnext.features.roles import EventRoles
from upnext.features.state import FeatureState, Known, Tally
from upnext.types import Catalogue, Events, Float32, History, Int32, Int64, ragged_rows

_ROWS_AT_ONCE = 16_384


def log_order(events: Events) -> Events:
    """The order in which the server received the events; the log's offsets break ties."""
    if np.all(np.diff(events.received_at) >= 0):
        return events
    return events.take(np.argsort(events.received_at, kind="stable"))


@dataclass(frozen=True, slots=True)
class Moments:
    """B past requests with N items: what the funnel was asked, and how much of the log it had seen."""

    user: Int32  # [B]
    now: Int64  # [B]
    cut: Int64  # [B] events before this place in log order were known
    item: Int32  # [N]
    offsets: Int64  # [B + 1]


def cuts(events: Events, now: Int64, as_of: Int64) -> Int64:
    """Log positions known at each moment: by logged offset where the server wrote it, else strictly before ``now``.

    ``events`` are in log order. Events of the very same millisecond are not prior.
    """
    by_time = np.searchsorted(events.received_at, now, side="left")
    logged = np.flatnonzero(as_of >= 0)
    if len(logged):
        order = np.argsort(events.offset, kind="stable")
        # The number of events, in log order, up to the last one that has an offset <= as_of.
        latest = np.maximum.accumulate(order)
        place = np.searchsorted(events.offset[order], as_of[logged], side="right")
        by_time[logged] = np.where(place > 0, latest[place - 1] + 1, 0)
    return by_time.astype(np.int64)


class Replay:
    """Features and histories of past moments over one log."""

    def __init__(
        self,
        config: FeaturesConfig,
        roles: EventRoles,
        catalogue: Callable[[], Catalogue],
        events: Events,
    ) -> None:
        """``events`` in log order."""
        self._config, self._roles, self._catalogue, self._events = config, roles, catalogue, events
        shown = roles.is_shown[events.type]
        position = np.arange(len(events), dtype=np.int64)
        self._shown = HistoryIndex(events.take(shown), position[shown], config.history_size)
        self._acted = HistoryIndex(events.take(~shown), position[~shown], config.history_size)

    def histories(self, user: Int32, cut: Int64) -> tuple[History, History]:
        """(acted, shown) of users before each cut."""
        return self._acted.read(user, cut), self._shown.read(user, cut)

    def features(self, moments: Moments, step: Callable[[int, str], None] | None = None) -> Float32:
        """The feature matrix ``[N, F]`` of the moments' rows."""
        definitions = groups(self._config, self._roles)
        width = sum(len(group.names) for group in definitions)
        known = self._counters(moments, step)
        out = np.empty((len(moments.item), width), np.float32)
        for requests, rows in _chunks(moments.offsets):
            acted, shown = self.histories(moments.user[requests], moments.cut[requests])
            inputs = Inputs(
                moments.item[rows],
                ragged_rows(moments.offsets[requests.start : requests.stop + 1]),
                moments.now[requests],
                acted,
                shown,
                Known(known.item[rows], known.author[rows], known.category[rows], known.user[requests]),
                self._catalogue(),
                self._roles,
            )
            out[rows] = compute(inputs, definitions)
        return out

    def _counters(self, moments: Moments, step: Callable[[int, str], None] | None) -> Known:
        state = FeatureState(self._config, self._roles, self._catalogue)
        tally = Tally.of(self._events, self._roles, self._catalogue())
        size, batch = len(moments.item), len(moments.user)
        width = len(self._config.half_lives_days) * len(rate_names(tuple(self._roles.tasks)))
        known = Known(*(np.zeros((n, width), np.float32) for n in (size, size, size, batch)))
        tick = state.tick(moments.now)
        order = np.argsort(tick, kind="stable")
        edges = np.flatnonzero(np.diff(tick[order], prepend=-1, append=np.iinfo(np.int64).max))
        applied, sizes = 0, np.diff(moments.offsets)
        for first, last in pairwise(edges):
            requests = order[first:last]
            until = int(np.searchsorted(self._events.received_at, tick[requests[0]], side="left"))
            if until > applied:
                state.count(tally.of_events(applied, until))
                applied = until
            number = sizes[requests]
            row = np.repeat(np.arange(len(requests)), number)
            start = moments.offsets[requests]
            rows = np.repeat(start - np.concatenate([[0], np.cumsum(number)[:-1]]), number) + np.arange(len(row))
            read = state.read(moments.item[rows], row, moments.user[requests], moments.now[requests])
            known.item[rows], known.author[rows], known.category[rows] = read.item, read.author, read.category
            known.user[requests] = read.user
            if step is not None:
                step(len(requests), "")
        return known


def _chunks(offsets: Int64) -> Iterator[tuple[slice, slice]]:
    """Slices (of requests, of their rows) of about _ROWS_AT_ONCE rows each; always whole requests."""
    start, batch = 0, len(offsets) - 1
    while start < batch:
        stop = int(np.searchsorted(offsets, offsets[start] + _ROWS_AT_ONCE, side="right")) - 1
        stop = min(max(stop, start + 1), batch)
        yield slice(start, stop), slice(int(offsets[start]), int(offsets[stop]))
        start = stop
