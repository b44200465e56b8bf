"""Item vectors that are divided into shares, asked as if they lay in one place.

The published items are cut into runs of codes, one a share; later ones are dealt out in turn. Every share is asked at
once, and the answers are merged: a search finds what one index would have found, for each share keeps the whole's
cells. A share that does not answer is missing from the result, nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from upnext.candidates.index import EXACT_BELOW, Sizes
from upnext.types import NO_ITEM, Bool, Float32, Int32, Int64

Ask = Callable[[str, Sequence[tuple[Any, ...] | None]], list[Any]]
"""``ask(verb, arguments)``: each share is asked with its arguments (None = not at all); None where none answers."""
Told = tuple[Int32, Float32 | None]  # items, and their new vectors; None = they are no longer found
TOLD_AT_MOST = 256  # changes that are kept apart


@dataclass(frozen=True, slots=True)
class Places:
    """Where each of ``items`` published items, and of those that come later, lies among ``shares``."""

    items: int
    shares: int

    def range_of(self, share: int) -> tuple[int, int]:
        """The published items of a share: from the first, to before the second."""
        return self.items * share // self.shares, self.items * (share + 1) // self.shares

    def share_of(self, codes: Int64) -> Int64:
        """-1 for what is no item."""
        edges = [self.range_of(share)[1] for share in range(self.shares)]
        share = np.searchsorted(edges, codes, side="right")
        share = np.where(codes >= self.items, codes % self.shares, share)
        return np.where(codes < 0, -1, share).astype(np.int64)

    def local(self, share: int, codes: Int64) -> Int32:
        """What the share calls its own ``codes``."""
        low, high = self.range_of(share)
        later = high - low + (codes - self.items) // self.shares
        return np.where(codes < self.items, codes - low, later).astype(np.int32)

    def whole(self, share: int, local: Int32) -> Int32:
        """The codes of what the share calls ``local``; -1 stays."""
        low, high = self.range_of(share)
        turn = (local.astype(np.int64) - (high - low)) * self.shares + self.items
        turn += (share - self.items) % self.shares
        found = np.where(local < high - low, local + low, turn)
        return np.where(local < 0, NO_ITEM, found).astype(np.int32)


class SpreadTable:
    """An ItemTable over shares. What was put is kept here, too, for a share that begins anew."""

    def __init__(self, ask: Ask, places: Places, size: int) -> None:
        self._ask, self._places, self._size = ask, places, size
        self._end = places.items
        self._lock = threading.Lock()
        self._told: list[Told] = []

    def __len__(self) -> int:
        return self._end

    @property
    def size(self) -> int:
        return self._size

    def __getitem__(self, codes: Int32 | Int64) -> Float32:
        found = np.zeros((codes.size, self._size), np.float32)
        self._gather("vectors", codes, found)
        return found.reshape(*codes.shape, self._size)

    def known(self, codes: Int32 | Int64) -> Bool:
        found = np.zeros(codes.size, np.bool_)
        self._gather("known", codes, found)
        return found.reshape(codes.shape)

    def put(self, codes: Int32, vectors: Float32) -> None:
        if len(codes):
            self._tell(codes, vectors)
            self._end = max(self._end, int(codes.max()) + 1)

    def again(self, share: int) -> None:
        """Tell a share that begins anew what it was told before."""
        with self._lock:
            told = list(self._told)
        for codes, vectors in told:
            self._change(codes, vectors, only=share)

    def _tell(self, codes: Int32, vectors: Float32 | None) -> None:
        with self._lock:
            self._told.append((codes, vectors))
            if len(self._told) > TOLD_AT_MOST:
                self._told = _shortened(self._told)
        self._change(codes, vectors)

    def _change(self, codes: Int32, vectors: Float32 | None, only: int | None = None) -> None:
        wanted: list[tuple[Any, ...] | None] = []
        for share, rows in enumerate(self._rows(codes)):
            if not len(rows) or (only is not None and share != only):
                wanted.append(None)
                continue
            local = self._places.local(share, codes[rows].astype(np.int64))
            wanted.append((local, None if vectors is None else vectors[rows]))
        self._ask("change", wanted)

    def _gather(self, verb: str, codes: Int32 | Int64, found: Any) -> None:
        flat = codes.ravel().astype(np.int64)
        rows = self._rows(flat)
        wanted = [(self._places.local(share, flat[mine]),) if len(mine) else None for share, mine in enumerate(rows)]
        for mine, answer in zip(rows, self._ask(verb, wanted), strict=True):
            if answer is not None:
                found[mine] = answer

    def _rows(self, codes: Int32 | Int64) -> list[Int64]:
        share = self._places.share_of(codes.astype(np.int64))
        return [np.flatnonzero(share == one) for one in range(self._places.shares)]


def _shortened(told: Sequence[Told]) -> list[Told]:
    """What comes to the same: of each item the last vector, and whether it is to be found in the end."""
    last: dict[int, Float32] = {}
    found: dict[int, bool] = {}
    for codes, vectors in told:
        found |= dict.fromkeys(codes.tolist(), vectors is not None)
        if vectors is not None:
            last |= zip(codes.tolist(), vectors, strict=True)
    gone = np.array([code for code, there in found.items() if not there], np.int32)
    put = np.array(list(last), np.int32)
    return [*([(put, np.stack(list(last.values())))] if last else []), *([(gone, None)] if len(gone) else [])]


class SpreadSpace(SpreadTable):
    """An ItemSpace over shares."""

    @property
    def sizes(self) -> Sizes:
        found = [sizes for sizes in self._every("sizes") if sizes is not None]
        return Sizes(*(sum(part) for part in zip(*found, strict=True))) if found else Sizes(0, 0, 0)

    def search(self, queries: Float32, k: int) -> tuple[Int32, Float32]:
        codes, scores = [np.empty((len(queries), 0), np.int32)], [np.empty((len(queries), 0), np.float32)]
        for share, answer in enumerate(self._every("search", queries, k)):
            if answer is not None:
                codes.append(self._places.whole(share, answer[0]))
                scores.append(answer[1])
        code, score = np.concatenate(codes, axis=1), np.concatenate(scores, axis=1)
        order = np.lexsort((code, -score), axis=1)[:, :k]
        found = np.full((len(queries), k), NO_ITEM, np.int32), np.full((len(queries), k), -np.inf, np.float32)
        for column, ordered in zip(found, (code, score), strict=True):
            column[:, : order.shape[1]] = np.take_along_axis(ordered, order, axis=1)
        return found

    def remove(self, codes: Int32) -> None:
        if len(codes):
            self._tell(codes, None)

    def rebuild(self, asking: Float32, exact_below: int = EXACT_BELOW) -> None:
        """Each share for itself."""
        self._every("rebuild", asking, exact_below // self._places.shares)

    def recall(self, queries: Float32, k: int) -> float:
        """The mean over the shares, each of its own nearest."""
        found = [recall for recall in self._every("recall", queries, k) if recall is not None]
        return float(np.mean(found)) if found else 0.0

    def _every(self, verb: str, *arguments: Any) -> list[Any]:
        return self._ask(verb, [arguments] * self._places.shares)
