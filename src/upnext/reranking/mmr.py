"""Maximal marginal relevance: each next item is worth its utility less its likeness to those above it.

Carbonell and Goldstein, The use of MMR, diversity-based reranking, SIGIR 1998.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    worth = (1.0 - diversity) * utility
    cost = diversity * alike
    nearest = np.zeros(len(utility))
    chosen = np.empty(k, np.int64)
    for position in range(k):
        taken = int((worth - nearest).argmax())
        chosen[position] = taken
        worth[taken] = -np.inf
        nearest = np.maximum(nearest, cost[taken]) if position else cost[taken]
    return chosen
