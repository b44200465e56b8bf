"""Sets of items a user: what was acted on, what was hidden. Complete, unlike the last-K histories."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from upnext.types import Bool, Int32, Int64

_MERGE_FROM = 4096


class UserItems:
    """A set of (user, item) pairs: one sorted base, and small per-user additions since."""

    def __init__(self) -> None:
        self._base = np.empty(0, np.int64)  # user << 32 | item, sorted, unique
        self._recent: dict[int, list[int]] = {}

    def add(self, user: Int32, item: Int32) -> None:
        known = (user >= 0) & (item >= 0)
        user, item = user[known], item[known]
        if len(user) < _MERGE_FROM:
            for u, i in zip(user.tolist(), item.tolist(), strict=True):
                self._recent.setdefault(u, []).append(i)
        else:
            self._base = np.union1d(self._base, _key(user, item))

    def __call__(self, user: int) -> Int32:
        """The user's items, sorted and unique, ``[n]``."""
        if user < 0:
            return np.empty(0, np.int32)
        low, high = np.searchsorted(self._base, [user << 32, (user + 1) << 32])
        items = (self._base[low:high] & 0xFFFFFFFF).astype(np.int32)
        recent = self._recent.get(user)
        return items if not recent else np.union1d(items, np.asarray(recent, np.int32))

    def dump(self) -> dict[str, Int64]:
        """All pairs, sorted; ``load`` makes the same set again."""
        user = np.repeat(list(self._recent), [len(items) for items in self._recent.values()]).astype(np.int32)
        item = np.asarray([item for items in self._recent.values() for item in items], np.int32)
        return {"pairs": _merged(self._base, _key(user, item))}

    def load(self, columns: Mapping[str, Int64]) -> None:
        self._base, self._recent = columns["pairs"], {}


def _key(user: Int32, item: Int32) -> Int64:
    return (user.astype(np.int64) << 32) | item.astype(np.int64)


def _merged(base: Int64, keys: Int64) -> Int64:
    """The union of sorted, unique keys and a few others: requests wait for a dump, so ``base`` is not sorted again."""
    keys = np.unique(keys)
    keys = keys[~_holds(base, keys)]
    return np.insert(base, np.searchsorted(base, keys), keys)


def _holds(base: Int64, keys: Int64) -> Bool:
    place = np.searchsorted(base, keys)
    inside = place < len(base)
    inside[inside] = base[place[inside]] == keys[inside]
    return inside
