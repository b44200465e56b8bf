"""A user's last K events, two ways: a ring for serving, and the whole log cut by binary search for replay.

Both give the same History for the same log position; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upnext.types import Events, History, Int32, Int64


class LastK:
    """The last K events of every user, updated at once. Not thread-safe: the state that owns it locks."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._count = np.zeros(0, np.int64)  # [U] events ever seen
        self._ring = History.empty(0, size)

    def append(self, events: Events) -> None:
        """Add events in their order; anonymous ones (user -1) are skipped."""
        rows = np.flatnonzero(events.user >= 0)
        rows = rows[np.argsort(events.user[rows], kind="stable")]
        if not len(rows):
            return
        users, start, number = np.unique(events.user[rows], return_index=True, return_counts=True)
        self._grow(int(users[-1]) + 1)
        nth = np.arange(len(rows)) - np.repeat(start, number)
        newest = nth >= np.repeat(number, number) - self.size  # older ones would be overwritten in the same call
        slot = (np.repeat(self._count[users], number) + nth)[newest] % self.size
        rows = rows[newest]
        user = events.user[rows]
        self._ring.item[user, slot] = events.item[rows]
        self._ring.event[user, slot] = events.type[rows]
        self._ring.at[user, slot] = events.received_at[rows]
        self._ring.value[user, slot] = events.value[rows]
        self._count[users] += number

    def read(self, users: Int32) -> History:
        """Histories of ``users``; empty ones for users never seen or unknown (-1)."""
        known = (users >= 0) & (users < len(self._count))
        if not known.any():
            return History.empty(len(users), self.size)
        row = np.where(known, users, 0)
        count = np.where(known, self._count[row], 0)
        nth = count[:, None] - self.size + np.arange(self.size)
        return _fill(self._ring, (row[:, None], nth % self.size), nth >= 0)

    def dump(self) -> dict[str, NDArray[Any]]:
        """All of it, as copies; ``load`` makes the same again."""
        used = int(np.flatnonzero(self._count).max(initial=-1)) + 1
        ring = {name: getattr(self._ring, name)[:used].copy() for name in History.__slots__}
        return {"count": self._count[:used].copy(), **ring}

    def load(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._count = columns["count"]
        self._ring = History(*(columns[name] for name in History.__slots__))

    def _grow(self, users: int) -> None:
        have = len(self._count)
        if users <= have:
            return
        room = max(users, 2 * have) - have
        empty = History.empty(room, self.size)
        self._count = np.concatenate([self._count, np.zeros(room, np.int64)])
        self._ring = History(
            np.concatenate([self._ring.item, empty.item]),
            np.concatenate([self._ring.event, empty.event]),
            np.concatenate([self._ring.at, empty.at]),
            np.concatenate([self._ring.value, empty.value]),
        )


class HistoryIndex:
    """Every user's events in log order, so that the history as of any log position can be read."""

    def __init__(self, events: Events, position: Int64, size: int) -> None:
        """``position[n]`` is the place of event n in the log: the cut of ``read`` refers to it."""
        known = np.flatnonzero(events.user >= 0)
        order = known[np.lexsort((position[known], events.user[known]))]
        self.size = size
        self._span = int(position.max(initial=0)) + 2
        self._key = events.user[order].astype(np.int64) * self._span + position[order]
        self._all = History(events.item[order], events.type[order], events.received_at[order], events.value[order])

    def read(self, users: Int32, cut: Int64) -> History:
        """Histories of ``users`` before log position ``cut`` (exclusive)."""
        base = users.astype(np.int64) * self._span
        end = np.searchsorted(self._key, base + np.minimum(cut, self._span - 1))
        start = np.searchsorted(self._key, base)
        nth = end[:, None] - self.size + np.arange(self.size)
        known = (nth >= start[:, None]) & (users >= 0)[:, None]
        if not len(self._key):
            return History.empty(len(users), self.size)
        return _fill(self._all, np.where(known, nth, 0), known)


def _fill(
    source: History,
    index: Int64 | tuple[Int64, Int64],
    known: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> History:
    return History(
        np.where(known, source.item[index], -1).astype(np.int32),
        np.where(known, source.event[index], -1).astype(np.int16),
        np.where(known, source.at[index], 0),
        np.where(known, source.value[index], np.float32(np.nan)).astype(np.float32),
    )
