"""EASE: a linear item-item model in closed form (Steck, WWW 2019), exact: the item Gram matrix is inverted."""

from __future__ import annotations

import numpy as np

from benchmarks.quality.peers.knn import binary
from benchmarks.quality.peers.method import Method, Score, Scores, Settings, positive
from benchmarks.quality.split import Int64, Lists, Split

BLOCK = 2_048
LARGE = 20_000  # items that were turned to; from here on one inversion takes too long to choose among several
PUBLISHED: tuple[Settings, ...] = ({"l2": 100.0}, {"l2": 200.0}, {"l2": 500.0})


def fit(split: Split, settings: Settings, seed: int) -> Score:
    """Items that nobody turned to are left out: they get no score."""
    known = np.flatnonzero(~split.cold_items)
    place = np.full(len(split.items), -1, np.int32)
    place[known] = np.arange(len(known), dtype=np.int32)
    seen = binary(Lists(split.fit.offsets, place[split.fit.item]), len(known))
    gram = np.zeros((len(known), len(known)), np.float32)
    together = (seen.T @ seen).tocoo()
    gram[together.row, together.col] = together.data
    gram[np.diag_indices(len(known))] += settings["l2"]
    weights = _inverse(gram)
    weights /= -weights.diagonal()[None, :].copy()
    np.fill_diagonal(weights, 0)

    def score(asked: Split, users: Int64) -> Scores:
        history = asked.history.take(users)
        mine = history.only(place[history.item] >= 0)
        out = np.full((len(users), len(asked.items)), -np.inf, np.float32)
        out[:, known] = positive(binary(Lists(mine.offsets, place[mine.item]), len(known)) @ weights)
        return out

    return score


def _inverse(gram: Scores) -> Scores:
    """In place, of a symmetric positive matrix, by the sweep operator on blocks of columns.

    LAPACK's own inversion after Cholesky (spotri) ended in a segmentation fault at 40,981 items. Only what lies on and
    below the diagonal is kept up to date; a swept matrix is the inverse with the sign changed.
    """
    size = len(gram)
    for first in range(0, size, BLOCK):
        last = min(first + BLOCK, size)
        column = np.concatenate([gram[first:last, :first].T, gram[first:, first:last]])
        column[first:last] = np.tril(column[first:last]) + np.tril(column[first:last], -1).T
        pivot = np.linalg.inv(column[first:last].astype(np.float64)).astype(np.float32)
        swept = column @ pivot
        for start in range(0, size, BLOCK):
            stop = min(start + BLOCK, size)
            gram[start:stop, :stop] -= swept[start:stop] @ column[:stop].T
        gram[first:last, :first] = swept[:first].T
        gram[last:, first:last] = swept[last:]
        gram[first:last, first:last] = -pivot
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        gram[start:stop, stop:] = gram[stop:, start:stop].T
        square = gram[start:stop, start:stop]
        gram[start:stop, start:stop] = np.tril(square) + np.tril(square, -1).T
    return np.negative(gram, out=gram)


def small(split: Split) -> bool:
    return int((~split.cold_items).sum()) < LARGE


METHODS = (
    Method("EASE", fit, PUBLISHED, fits=small),
    Method("EASE, l2 200", fit, ({"l2": 200.0},), fits=lambda split: not small(split)),
)
