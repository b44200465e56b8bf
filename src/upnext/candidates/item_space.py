"""The vectors of a version's items and their index as one thing: what a source asks of them, wherever they lie.

A large catalogue is divided into shares (``LocalSpace.share``): all of them asked, and their answers merged, are one
space again (candidates/spread.py).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

import numpy as np

from upnext.candidates.index import EXACT_BELOW, ItemIndex, Sizes
from upnext.errors import ArtifactError
from upnext.types import Bool, Float32, Int32, Int64
from upnext.vectors import Vectors

VECTORS_FILE = "item_vectors.npy"
SCANNED = 1 << 16  # items at once of an exact search


class ItemSpace(Protocol):
    """Item vectors by code, and which of them are nearest to a query. Safe to read while one thread writes."""

    @property
    def size(self) -> int:
        """Numbers a vector."""
        ...

    @property
    def sizes(self) -> Sizes:
        """Rows of the index."""
        ...

    def __getitem__(self, codes: Int32 | Int64) -> Float32:
        """``[..., d]``, zeros for items that have none."""
        ...

    def known(self, codes: Int32 | Int64) -> Bool:
        """Which of the items have a vector."""
        ...

    def search(self, queries: Float32, k: int) -> tuple[Int32, Float32]:
        """As ItemIndex.search."""
        ...

    def put(self, codes: Int32, vectors: Float32) -> None:
        """New items, or new vectors of items: found from now on."""
        ...

    def remove(self, codes: Int32) -> None:
        """Items that are found no longer; their vectors stay."""
        ...

    def rebuild(self, asking: Float32, exact_below: int = EXACT_BELOW) -> None:
        """Put everything into a new main part of the index, made for queries like ``asking``."""
        ...

    def recall(self, queries: Float32, k: int) -> float:
        """Share of the exact k nearest that a search finds; 1 where there is nothing to find."""
        ...


class LocalSpace:
    """A space in this process. The published vectors are mapped from their file."""

    def __init__(self, vectors: Vectors, index: ItemIndex) -> None:
        self._vectors, self._index = vectors, index
        self._lock, self._rebuilding = threading.Lock(), threading.Lock()
        self._meanwhile: list[tuple[Int32, Float32 | None]] | None = None  # changes while the index is built anew

    @classmethod
    def load(cls, directory: Path) -> LocalSpace:
        """Raises ArtifactError when a file is missing, damaged, or does not fit the other."""
        try:
            vectors = Vectors.load(directory / VECTORS_FILE)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{directory}: no readable item vectors ({error}). Run `upnext train`.") from error
        index = ItemIndex.load(directory, vectors)
        if vectors.size != index.size:
            found = f"item vectors of length {vectors.size} and an index of {index.size}"
            raise ArtifactError(f"{directory}: {found} do not belong together. Run `upnext train`.")
        return cls(vectors, index)

    def share(self, low: int, high: int) -> LocalSpace:
        """The items low .. high - 1, as items 0 .. of a space of its own, in memory: the files may be let go."""
        vectors = self._vectors.share(low, high)
        return LocalSpace(vectors, self._index.share(low, high, vectors))

    def __len__(self) -> int:
        """One more than the last item that has a vector."""
        return len(self._vectors)

    @property
    def size(self) -> int:
        return self._vectors.size

    @property
    def sizes(self) -> Sizes:
        return self._index.sizes

    @property
    def index(self) -> ItemIndex:
        """The index that searches now; another one after a rebuild."""
        return self._index

    def __getitem__(self, codes: Int32 | Int64) -> Float32:
        return self._vectors[codes]

    def known(self, codes: Int32 | Int64) -> Bool:
        return self._vectors.known(codes)

    def search(self, queries: Float32, k: int) -> tuple[Int32, Float32]:
        return self._index.search(queries, k)

    def put(self, codes: Int32, vectors: Float32) -> None:
        with self._lock:
            self._vectors.put(codes, vectors)
            self._change(codes, vectors)

    def remove(self, codes: Int32) -> None:
        with self._lock:
            self._change(codes, None)

    def rebuild(self, asking: Float32, exact_below: int = EXACT_BELOW) -> None:
        """Searches go on with the old index until the new one is complete."""
        with self._rebuilding:
            with self._lock:
                self._meanwhile = []
                codes = self._index.codes()
            try:
                fresh = ItemIndex.build_of(codes, self._vectors, exact_below, asking)
            except BaseException:
                self._meanwhile = None
                raise
            with self._lock:
                for changed, vectors in self._meanwhile:
                    _apply(fresh, changed, vectors)
                self._index, self._meanwhile = fresh, None

    def recall(self, queries: Float32, k: int) -> float:
        index = self._index
        codes = index.codes()
        k = min(k, len(codes))
        if k == 0 or not len(queries):
            return 1.0
        exact, scores = np.empty((len(queries), 0), np.int32), np.empty((len(queries), 0), np.float32)
        for first in range(0, len(codes), SCANNED):
            some = codes[first : first + SCANNED]
            exact = np.concatenate([exact, np.broadcast_to(some, (len(queries), len(some)))], axis=1)
            scores = np.concatenate([scores, queries @ self._vectors[some].T], axis=1)
            if scores.shape[1] > k:
                best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
                exact, scores = np.take_along_axis(exact, best, axis=1), np.take_along_axis(scores, best, axis=1)
        found = index.search(queries, k)[0]
        hits = sum(len(np.intersect1d(best, mine)) for best, mine in zip(exact, found, strict=True))
        return hits / (k * len(queries))

    def _change(self, codes: Int32, vectors: Float32 | None) -> None:
        _apply(self._index, codes, vectors)
        if self._meanwhile is not None:
            self._meanwhile.append((codes, vectors))


def _apply(index: ItemIndex, codes: Int32, vectors: Float32 | None) -> None:
    if vectors is None:
        index.remove(codes)
    else:
        index.add(codes, vectors)
