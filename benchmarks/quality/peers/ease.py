"""EASE: a linear item-item model in closed form (Steck, WWW 2019), exact: the item Gram matrix is inverted."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from benchmarks.quality.peers.knn import binary
from benchmarks.quality.peers.method import Method, Score, Scores, Settings, positive
from benchmarks.quality.split import Int64, Lists, Split

LARGE = 20_000  # items that were turned to; from here on one inversion takes too long to choose among several
PUBLISHED: tuple[Settings, ...] = ({"l2": 100.0}, {"l2": 200.0}, {"l2": 500.0})


def fit(split: Split, settings: Settings, seed: int) -> Score:
    """Items that nobody turned to are left out: they get no score."""
    known = np.flatnonzero(~split.cold_items)
    place = np.full(len(split.items), -1, np.int32)
    place[known] = np.arange(len(known), dtype=np.int32)
    seen = binary(Lists(split.fit.offsets, place[split.fit.item]), len(known))
    gram = np.zeros((len(known), len(known)), np.float32, order="F")
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
    """In place, by Cholesky: half the memory of a general solver."""
    factor, failed = lapack.spotrf(gram, lower=1, overwrite_a=1)
    if failed:
        raise ValueError(f"the Gram matrix is not positive definite (LAPACK says {failed})")
    inverse, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise ValueError(f"the Gram matrix cannot be inverted (LAPACK says {failed})")
    for start in range(0, len(inverse), 1024):  # only the lower triangle was filled
        stop = min(start + 1024, len(inverse))
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
        block = inverse[start:stop, start:stop]
        inverse[start:stop, start:stop] = np.tril(block) + np.tril(block, -1).T
    return np.asarray(inverse)


def small(split: Split) -> bool:
    return int((~split.cold_items).sum()) < LARGE


METHODS = (
    Method("EASE", fit, PUBLISHED, fits=small),
    Method("EASE, l2 200", fit, ({"l2": 200.0},), fits=lambda split: not small(split)),
)
