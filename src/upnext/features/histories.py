"""A user's last K events, two ways: a ring for serving, and the whole log cut by binary search for replay.

Both give the same History for the same log position; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upnext.compiled import compiled
from upnext.types import Events, Float32, History, Int16, Int32, Int64


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
        found, ring = History.empty(len(users), self.size), self._ring
        _unroll(
            users, self._count, ring.item, ring.event, ring.at, ring.value,
            found.item, found.event, found.at, found.value,
        )  # fmt: skip
        return found

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
        index = np.where(known, nth, 0)
        return History(
            np.where(known, self._all.item[index], -1).astype(np.int32),
            np.where(known, self._all.event[index], -1).astype(np.int16),
            np.where(known, self._all.at[index], 0),
            np.where(known, self._all.value[index], np.float32(np.nan)).astype(np.float32),
        )


@compiled(
    "void(int32[:], int64[:], int32[:, ::1], int16[:, ::1], int64[:, ::1], float32[:, ::1], "
    "int32[:, ::1], int16[:, ::1], int64[:, ::1], float32[:, ::1])"
)
def _unroll(
    users: Int32,
    count: Int64,
    item: Int32,
    event: Int16,
    at: Int64,
    value: Float32,
    items: Int32,
    events: Int16,
    times: Int64,
    values: Float32,
) -> None:
    """Fill the last four ``[B, K]``, which come empty, from the users' rings ``[U, K]``, oldest first."""
    size = item.shape[1]
    for b, user in enumerate(users):
        if 0 <= user < len(count):
            number = min(count[user], size)
            for back in range(1, number + 1):
                slot = (count[user] - back) % size
                items[b, size - back] = item[user, slot]
                events[b, size - back] = event[user, slot]
                times[b, size - back] = at[user, slot]
                values[b, size - back] = value[user, slot]
