"""Maximal marginal relevance: each next item is worth its utility less its likeness to those above it.

Carbonell and Goldstein, The use of MMR, diversity-based reranking, SIGIR 1998.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.compiled import compiled
from upnext.reranking.order import diversified
from upnext.reranking.similarity import Similarity
from upnext.types import Candidates, Float32, Float64, Int64, Order, Requests


@dataclass(slots=True)
class MMR:
    """``diversity`` 0..1 (0 = by utility exactly); chooses among the ``pool`` best rows of a request."""

    similarity: Similarity
    diversity: float
    pool: int
    name: str = "mmr"

    def __call__(self, requests: Requests, candidates: Candidates) -> Order:
        strength = self.diversity if requests.diversity is None else requests.diversity
        return diversified(requests, candidates, strength, self.pool, self.similarity, mmr)


def mmr(utility: Float64, alike: Float32, k: int, diversity: float) -> Int64:
    """Greedy choice of ``k`` by ``(1 - diversity) * utility - diversity * greatest likeness to a chosen one``."""
    return np.asarray(_choose((1.0 - diversity) * utility, np.float32(diversity) * alike, k), np.int64)


@compiled("int64[::1](float64[::1], float32[:, ::1], int64)")
def _choose(worth: Float64, cost: Float32, k: int) -> Int64:
    """``k`` rows by ``worth [n]`` less the largest ``cost [n, n]`` with one chosen before; of equal ones the first."""
    rows = len(worth)
    nearest, free, chosen = np.zeros(rows), np.ones(rows, np.bool_), np.empty(k, np.int64)
    for position in range(k):
        taken = -1
        for row in range(rows):
            if free[row] and (taken < 0 or worth[row] - nearest[row] > worth[taken] - nearest[taken]):
                taken = row
        chosen[position], free[taken] = taken, False
        for row in range(rows):
            nearest[row] = max(nearest[row], cost[taken, row]) if position else cost[taken, row]
    return chosen
