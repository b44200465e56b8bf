"""Which items each user was shown, in memory that grows with what was shown, not with users times items."""

from __future__ import annotations

import numpy as np

from upnext.types import Bool, Int32, Int64

LATEST = 65_536  # pairs that are kept apart, so that the others need not be moved for each new one


class Shown:
    """Pairs of user and item as sorted numbers: all, and the latest ones apart."""

    def __init__(self, items: int) -> None:
        self._items = items
        self.forget()

    def forget(self) -> None:
        self._parts: list[Int64] = [np.empty(0, np.int64), np.empty(0, np.int64)]

    def __call__(self, users: Int32 | Int64, items: Int32 | Int64) -> Bool:
        """Whether each user was shown each item; the shapes are broadcast."""
        asked = users.astype(np.int64) * self._items + items
        found = np.zeros(asked.shape, np.bool_)
        for pairs in self._parts:
            if len(pairs):
                place = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
                found |= pairs[place] == asked
        return found

    def of(self, user: int) -> Int64:
        """The items that one user was shown."""
        bounds = np.array([user, user + 1]) * self._items
        return np.concatenate([pairs[slice(*np.searchsorted(pairs, bounds))] for pairs in self._parts]) - bounds[0]

    def add(self, users: Int32, items: Int32) -> None:
        """Users ``[n]`` were shown items ``[n]``."""
        everything, latest = self._parts
        # A stable sort of sorted runs is one merge.
        latest = np.sort(np.concatenate([latest, users.astype(np.int64) * self._items + items]), kind="stable")
        if len(latest) > LATEST:
            everything, latest = np.sort(np.concatenate([everything, latest]), kind="stable"), latest[:0]
        self._parts = [everything, latest]
