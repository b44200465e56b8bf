"""Determinantal point process: the likeliest slate when utility and mutual difference multiply.

Fast greedy MAP inference of Chen, Zhang and Zhou, Fast greedy MAP inference for determinantal point process to
improve recommendation diversity, NeurIPS 2018, with its sliding window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.reranking.order import diversified
from upnext.reranking.similarity import Similarity
from upnext.types import Candidates, Float32, Float64, Int64, Order, Requests

RIDGE = 1e-3  # pulls likenesses towards 0, so that a copy of a chosen item still has some variance left


@dataclass(slots=True)
class DPP:
    """``diversity`` 0..1 (0 = by utility exactly); any ``window`` neighbouring positions are made to differ."""

    similarity: Similarity
    diversity: float
    pool: int
    window: int
    name: str = "dpp"

    def __call__(self, requests: Requests, candidates: Candidates) -> Order:
        strength = self.diversity if requests.diversity is None else requests.diversity
        return diversified(requests, candidates, strength, self.pool, self.similarity, self._choose)

    def _choose(self, utility: Float64, alike: Float32, k: int, strength: float) -> Int64:
        return dpp(utility, alike, k, strength, self.window)


def dpp(utility: Float64, alike: Float32, k: int, diversity: float, window: int) -> Int64:
    """Greedy choice of ``k`` by ``(1 - diversity) * utility + diversity * log(variance)``.

    The variance is what is left of an item when the last ``window - 1`` chosen are known: the factor by which it
    raises the determinant of their likeness matrix. The diversity is above 0.
    """
    kernel = (1.0 - RIDGE) * alike + RIDGE * np.eye(len(utility))
    weight = np.exp((1.0 - diversity) / diversity * (utility - 1.0))  # the same order as the sum of logarithms
    variance = np.ones(len(utility))
    factor = np.empty((min(k, window - 1), len(utility)))  # rows of the Cholesky factor, while all chosen are known
    chosen = np.empty(k, np.int64)
    for position in range(k):
        taken = int((weight * np.maximum(variance, RIDGE)).argmax())
        weight[taken] = -1.0
        chosen[position] = taken
        if position < window - 1:
            row = kernel[taken] - factor[:position, taken] @ factor[:position]
            row /= np.sqrt(row[taken])
            factor[position] = row
            variance -= row * row
        else:
            known = chosen[position + 2 - window : position + 1]
            across = kernel.take(known, 0)
            precision = np.linalg.inv(across.take(known, 1))
            variance = 1.0 - (across * (precision @ across)).sum(0)
    return chosen
