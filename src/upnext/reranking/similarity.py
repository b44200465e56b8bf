"""How alike two items are: same author, shared categories, close vectors.

Each part is a positive semidefinite kernel with ones on its diagonal, and so is their weighted mean: what a
determinantal point process needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upnext.compiled import compiled
from upnext.reranking.lookup import gather
from upnext.types import Bool, Catalogue, Float32, Int32
from upnext.vectors import ItemTable


@dataclass(slots=True)
class Similarity:
    """``[n] -> [n, n]``, ones on the diagonal; a part that the home has no data for takes no share.

    ``vectors()`` are item vectors (None = no model yet); an item without one, all zeros, is like nothing.
    """

    catalogue: Callable[[], Catalogue]
    vectors: Callable[[], ItemTable | None] = lambda: None
    author: float = 0.3
    category: float = 0.3
    vector: float = 0.4

    def __call__(self, item: Int32) -> Float32:
        catalogue, vectors = self.catalogue(), self.vectors()
        parts: list[tuple[float, Bool | Float32]] = [(self.author, same_author(gather(catalogue.author, item, -1)))]
        if catalogue.category.shape[1]:
            parts.append((self.category, jaccard(gather(catalogue.category, item, -1))))
        if vectors is not None:
            parts.append((self.vector, cosine(vectors[item])))
        total = sum(share for share, _ in parts)
        alike = np.zeros((len(item), len(item)), np.float32)
        for share, part in parts:
            if share > 0:
                alike += np.float32(share / total) * part
        alike.flat[:: len(item) + 1] = 1.0
        return alike


def same_author(author: Int32) -> Bool:
    """Whether both have the same known author (-1 = unknown), ``[n] -> [n, n]``."""
    known = np.where(author < 0, -1 - np.arange(len(author)), author)
    return np.asarray(known[:, None] == known)


def jaccard(category: Int32) -> Float32:
    """Shared categories over all categories of both, ``[n, C]`` -1 padded ``-> [n, n]``."""
    alike = np.empty((len(category), len(category)), np.float32)
    _overlap(np.ascontiguousarray(category, np.int32), alike)
    return alike


@compiled("void(int32[:, ::1], float32[:, ::1])")
def _overlap(category: Int32, alike: Float32) -> None:
    """``alike [n, n]`` = shared / all categories of rows of ``category [n, C]``, each category of a row once."""
    rows, columns = category.shape
    held, size = np.empty((rows, columns), np.int32), np.zeros(rows, np.int64)
    for row in range(rows):
        for column in range(columns):
            code, place = category[row, column], 0
            while place < size[row] and held[row, place] != code:
                place += 1
            if code >= 0 and place == size[row]:
                held[row, place] = code
                size[row] += 1
    for one in range(rows):
        alike[one, one] = 1.0 if size[one] else 0.0
        for other in range(one):
            shared = 0
            for place in range(size[one]):
                for there in range(size[other]):
                    shared += held[one, place] == held[other, there]
            every = max(size[one] + size[other] - shared, 1)
            alike[one, other] = alike[other, one] = np.float32(shared) / np.float32(every)


def cosine(vectors: Float32) -> Float32:
    """Cosine of each pair of rows, 0 for rows that are zero or not finite, ``[n, d] -> [n, n]``."""
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    usable = np.isfinite(length) & (length > 0)
    unit = np.where(usable[:, None], vectors, np.float32(0)) / np.where(usable, length, 1)[:, None]
    return np.asarray(unit @ unit.T, np.float32)
