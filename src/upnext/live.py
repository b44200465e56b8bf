"""Everything known now, as views that tail one log: catalogue, users, feature state. Restart = tail again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import numpy as np
import polars as pl

from upnext.config import Config
from upnext.features.catalogue import LiveCatalogue, LiveUsers
from upnext.features.promises import Promises
from upnext.features.replay import log_order
from upnext.features.roles import EventRoles
from upnext.features.state import FeatureState
from upnext.ids import IdMap
from upnext.storage.log import IdKind, Marks
from upnext.types import NO_ITEM, Events, History, Int16, Int32, Int64, Ragged, Requests

_EVENTS_AT_ONCE = 500_000


class Tailed(Protocol):
    """What is read of a log (``storage.log.Log``, where the methods are described)."""

    def read_events(self, after: int = -1, limit: int | None = None) -> Events: ...

    def item_parts(self, after: int = 0) -> Iterator[pl.DataFrame]: ...

    def identity(self) -> tuple[int, int]: ...

    def read_users(self, after: int = 0) -> pl.DataFrame: ...

    def ids(self, kind: IdKind, start: int = 0) -> list[str]: ...

    def marks(self) -> Marks: ...


class Live:
    """The views of one process. ``refresh`` takes over what the log has gained since the last call."""

    def __init__(
        self, log: Tailed, config: Config, events: bool = True, restore: Callable[[Live], bool] | None = None
    ) -> None:
        """``events=False`` leaves the feature state empty: training and evaluation feed it themselves.

        ``restore`` may bring an earlier state back, so that only the tail of the log is left to read.
        """
        self.log, self.config = log, config
        self.roles = EventRoles(config.events.types, config.ranking.tasks)
        self.catalogue, self.users = LiveCatalogue(), LiveUsers()
        self.surfaces = IdMap()
        self.state = FeatureState(
            config.features, self.roles, self.catalogue, config.candidates.trending.half_life_hours
        )
        self.promises = Promises(
            config.reranking.exploration,
            self.catalogue,
            self.state.impressions,
            self.roles.is_impression,
            lambda: self.state.served_since,
        )
        self.offset = -1
        self.latest = 0  # received_at of the newest event, ms
        self.items_revision = 0  # the latest revision of an item that was read
        self.items_read = 0  # rows of items that were read: what a saved catalogue would spare the next start
        self._revision_users = 0
        self._marks: Marks | None = None
        self._events = events
        self._lock = threading.Lock()
        if restore is not None:
            self.roles.learn(log.ids("event_type"))
            restore(self)
        self.refresh()

    @contextmanager
    def still(self) -> Iterator[None]:
        """Within it no news of the log is taken over."""
        with self._lock:
            yield

    def refresh(self) -> Int32:
        """Read the log's news; returns the codes of changed items."""
        changed = []
        with self._lock:
            while True:
                # Events first: what they refer to was in the log before them, so the names read below cover it.
                news = self.log.read_events(self.offset, _EVENTS_AT_ONCE) if self._events else Events.empty()
                changed.append(self._refresh_names())
                if len(news):
                    self.state.apply(log_order(news))
                    self.promises.count(news)
                    self.offset = int(news.offset[-1])
                    self.latest = max(self.latest, int(news.received_at.max()))
                if len(news) < _EVENTS_AT_ONCE:
                    return np.unique(np.concatenate(changed))

    def _refresh_names(self) -> Int32:
        marks = self.log.marks()
        if marks == self._marks:  # nearly always: events seldom bring new names
            return np.empty(0, np.int32)
        self.roles.learn(self.log.ids("event_type"))
        self.surfaces.extend(self.log.ids("surface", len(self.surfaces)))
        changed = self._refresh_items()
        users = self.log.read_users(self._revision_users)
        self.users.apply(users, self.catalogue)
        self.promises.changed(changed)
        if len(users):
            self._revision_users = int(users["revision"].max() or 0)  # type: ignore[arg-type]
        self._marks = marks  # what came after them is news again, at worst read twice
        return changed

    def _refresh_items(self) -> Int32:
        changed, latest = [np.empty(0, np.int32)], self.items_revision
        for items in self.log.item_parts(self.items_revision):
            changed.append(self.catalogue.apply(items))
            latest = max(latest, int(items["revision"].max() or 0))  # type: ignore[arg-type]
        self.items_revision = latest
        self.items_read += sum(map(len, changed))
        return np.concatenate(changed)

    def all_events(self) -> Events:
        """The whole log in the order received."""
        return log_order(self.log.read_events())

    def requests(
        self,
        users: Int32,
        now: Int64,
        k: int,
        surface: Int16 | None = None,
        exclude: Ragged | None = None,
        anchors: Ragged | None = None,
    ) -> Requests:
        """A batch for known users with their histories as of this moment; counters as of the last closed tick."""
        self.state.advance(int(now.max(initial=0)))
        acted, shown = self.state.histories(users)
        batch = len(users)
        return Requests(
            users,
            now,
            np.zeros(batch, np.int16) if surface is None else surface,
            k,
            acted,
            shown,
            exclude or Ragged.empty(batch),
            anchors or Ragged.empty(batch),
            allow_watched=not self.config.reranking.filters.watched,
        )


def with_session(requests: Requests, items: Int32, event: int) -> Requests:
    """A single request whose history is a bare list of items, oldest first: a session of somebody unknown.

    Unknown items (-1) are left out. ``event`` is the type code that the items count as.
    """
    empty = History.empty(1, requests.acted.item.shape[1])
    items = items[items != NO_ITEM][-empty.item.shape[1] :]
    if not len(items):
        return replace(requests, acted=empty)
    minutes = 60_000 * np.arange(len(items), 0, -1)
    empty.item[0, -len(items) :], empty.event[0, -len(items) :] = items, event
    empty.at[0, -len(items) :] = requests.now[0] - minutes
    return replace(requests, acted=empty)
