"""Item-kNN: cosine with shrinkage, the history decayed a step; and the same with directed co-occurrence.

Sarwar et al., WWW 2001; shrinkage as in Bell and Koren, ICDM 2007.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from benchmarks.quality.peers.method import Method, Score, Scores, Settings, ordered, positive, steps_back
from benchmarks.quality.split import Int64, Lists, Split

SHRINKAGE = 20.0
WINDOW = 3
DECAYS: tuple[Settings, ...] = ({"decay": 0.8}, {"decay": 0.9}, {"decay": 1.0})
WEIGHTS: tuple[Settings, ...] = tuple(
    {**decay, "directed": weight} for decay in DECAYS[:2] for weight in (1.0, 2.0, 4.0)
)


def matrix(lists: Lists, items: int, decay: float = 1.0) -> Any:
    """[rows, I] sparse: each entry decayed by its steps back; what is there twice adds up."""
    value = np.power(decay, steps_back(lists)).astype(np.float32)
    entries = (value, (lists.row, lists.item))  # this form copies: scipy sorts in place, and would sort the lists
    return sparse.csr_matrix(entries, shape=(len(lists), items))


def binary(lists: Lists, items: int) -> Any:
    """[rows, I] sparse: 1 where there is an entry."""
    found = matrix(lists, items)
    found.sum_duplicates()
    found.data[:] = 1
    return found


def fit_cosine(split: Split, settings: Settings, seed: int) -> Score:
    seen = binary(split.fit, len(split.items))
    return _neighbours(_shrunk(seen.T @ seen, seen), settings)


def fit_directed(split: Split, settings: Settings, seed: int) -> Score:
    """Both similarities, each shrunk in the same way, added with a weight on the directed one."""
    seen = binary(split.fit, len(split.items))
    steps = _shrunk(_followed(split.fit, len(split.items)), seen)
    return _neighbours(_shrunk(seen.T @ seen, seen) + settings["directed"] * steps, settings)


def _followed(lists: Lists, items: int) -> Any:
    """[I, I] how often the second followed the first within the window, each time 1 / gap."""
    total = sparse.csr_matrix((items, items), dtype=np.float32)
    for gap in range(1, WINDOW + 1):
        together = lists.row[gap:] == lists.row[:-gap]
        first, second = lists.item[:-gap][together], lists.item[gap:][together]
        value = np.full(len(first), 1 / gap, np.float32)
        total = total + sparse.csr_matrix((value, (first, second)), shape=(items, items))
    return total


def _shrunk(together: Any, seen: Any) -> Any:
    """Divided by the geometric mean of the two items' counts plus the shrinkage; no item is its own neighbour."""
    count = np.asarray(seen.sum(axis=0)).ravel()
    pairs = together.tocoo()
    other = pairs.row != pairs.col
    row, column = pairs.row[other], pairs.col[other]
    value = pairs.data[other] / (np.sqrt(count[row] * count[column]) + SHRINKAGE)
    return sparse.csr_matrix((value.astype(np.float32), (row, column)), shape=together.shape)


def _neighbours(similarity: Any, settings: Settings) -> Score:
    def score(split: Split, users: Int64) -> Scores:
        history = matrix(split.history.take(users), len(split.items), settings["decay"])
        return positive((history @ similarity).toarray())

    return score


METHODS = (
    Method("item-kNN", fit_cosine, DECAYS, fits=ordered),
    Method("item-kNN, no order", fit_cosine, ({"decay": 1.0},), fits=lambda split: not split.ordered),
    Method("item-kNN + directed", fit_directed, WEIGHTS, fits=ordered),
)
