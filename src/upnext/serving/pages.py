"""Infinite scroll: what each chain of pages has shown so far. Bounded, and forgotten after a while."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol

from upnext.serving.question import Question

MAX_PAGES = 20_000
MAX_AGE_S = 3600.0
MAX_SHOWN = 5_000  # items of one chain; later pages no longer know the first ones


@dataclass(slots=True)
class Chain:
    """One question and the item codes that its pages have shown, in order. ``lock`` is held while a page is made."""

    question: Question
    shown: list[int] = field(default_factory=list)
    length: int = 0  # of all pages, also those that were forgotten
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, items: list[int]) -> None:
        self.shown = [*self.shown, *items][-MAX_SHOWN:]
        self.length += len(items)


class Store(Protocol):
    """Where chains are kept for other processes; page_store.PageStore."""

    def put(self, recommendation_id: str, chain: Chain) -> None: ...

    def find(self, recommendation_id: str) -> Chain | None: ...

    def close(self) -> None: ...


class Pages:
    """recommendation_id -> the chain it belongs to."""

    def __init__(self, store: Store | None = None, size: int = MAX_PAGES, max_age_s: float = MAX_AGE_S) -> None:
        self._store, self._size, self._max_age = store, size, max_age_s
        self._chains: OrderedDict[str, tuple[float, Chain]] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, recommendation_id: str, chain: Chain) -> None:
        with self._lock:
            self._chains[recommendation_id] = time.monotonic(), chain
            while len(self._chains) > self._size:
                self._chains.popitem(last=False)
        if self._store is not None:
            self._store.put(recommendation_id, chain)

    def find(self, recommendation_id: str) -> Chain | None:
        """None when the id was never given out, or too long ago."""
        with self._lock:
            made_at, chain = self._chains.get(recommendation_id, (0.0, None))
            if chain is not None and time.monotonic() - made_at <= self._max_age:
                return chain
            self._chains.pop(recommendation_id, None)
        return None if self._store is None else self._store.find(recommendation_id)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
