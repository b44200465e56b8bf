"""External ids -> int codes within one write transaction, whatever stores them: an id keeps its code for ever."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from upnext.errors import DataError
from upnext.storage.log import IdKind
from upnext.types import Int32

TABLE_OF: Mapping[IdKind, str] = {"user": "users", "item": "items", "surface": "surfaces", "event_type": "event_types"}
CACHED_IDS = 1_000_000  # kept in memory a kind
_MAX_SMALL_CODE = 32_767  # surfaces and event types are int16 in Events

Codes = dict[IdKind, dict[str, int]]


class Encoder(ABC):
    """``known`` are codes that are stored already; ``fresh`` gathers what this transaction found or gave."""

    def __init__(self, known: Mapping[IdKind, dict[str, int]]) -> None:
        self.fresh: Codes = {}
        self._known = known

    def encode(self, kind: IdKind, names: Sequence[str]) -> Int32:
        """The codes of the ids, ``[N]``; unknown ids get the next codes in the order of their first row."""
        known, fresh, distinct = self._known[kind], self.fresh.setdefault(kind, {}), dict.fromkeys(names, -1)
        missing = [name for name in distinct if name not in known and name not in fresh]
        if missing:
            fresh.update(self.stored_codes(kind, missing))
            if added := [name for name in missing if name not in fresh]:
                fresh.update(self.add(kind, added))
        for name in distinct:
            distinct[name] = known[name] if name in known else fresh[name]
        return np.fromiter(map(distinct.__getitem__, names), np.int32, len(names))

    @abstractmethod
    def stored_codes(self, kind: IdKind, names: Sequence[str]) -> dict[str, int]:
        """The codes of those that are stored."""

    @abstractmethod
    def add(self, kind: IdKind, names: Sequence[str]) -> dict[str, int]:
        """Give each of the names, which nobody has heard of, the next code."""


def next_codes(kind: IdKind, first: int, names: Sequence[str]) -> dict[str, int]:
    """Codes from ``first`` on. Raises DataError when a small table would hold too many."""
    if kind in ("surface", "event_type") and first + len(names) - 1 > _MAX_SMALL_CODE:
        raise DataError(
            f"{names[-1]!r} would be {TABLE_OF[kind]} number {_MAX_SMALL_CODE + 2}; give them fewer different names"
        )
    return {name: first + number for number, name in enumerate(names)}


def remember(known: Codes, fresh: Codes, limit: int = CACHED_IDS) -> None:
    """Only once they are durable: what a transaction that failed had coded is not there."""
    for kind, codes in fresh.items():
        if len(known[kind]) + len(codes) > limit:
            known[kind].clear()
        known[kind].update(codes)
