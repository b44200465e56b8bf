"""How alike two items are: same author, shared categories, close vectors.

Each part is a positive semidefinite kernel with ones on its diagonal, and so is their weighted mean: what a
determinantal point process needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upnext.reranking.lookup import gather
from upnext.types import Bool, Catalogue, Float32, Int32
from upnext.vectors import Vectors


@dataclass(slots=True)
class Similarity:
    """``[n] -> [n, n]``, ones on the diagonal; a part that the home has no data for takes no share.

    ``vectors()`` are item vectors (None = no model yet); an item without one, all zeros, is like nothing.
    """

    catalogue: Callable[[], Catalogue]
    vectors: Callable[[], Vectors | None] = lambda: None
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
    codes, index = np.unique(category, return_inverse=True)
    has = np.zeros((len(category), len(codes)), np.float32)
    has[np.arange(len(category))[:, None], index.reshape(category.shape)] = codes[index].reshape(category.shape) >= 0
    size = has.sum(1)
    shared = has @ has.T
    return np.asarray(shared / np.maximum(size[:, None] + size - shared, 1.0), np.float32)


def cosine(vectors: Float32) -> Float32:
    """Cosine of each pair of rows, 0 for rows that are zero or not finite, ``[n, d] -> [n, n]``."""
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    usable = np.isfinite(length) & (length > 0)
    unit = np.where(usable[:, None], vectors, np.float32(0)) / np.where(usable, length, 1)[:, None]
    return np.asarray(unit @ unit.T, np.float32)
