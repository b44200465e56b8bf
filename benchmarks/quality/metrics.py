"""Measures of ranked lists, one number a user; the same code for every system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.lists import Top
from benchmarks.quality.split import Bool, Int64, Lists

Float64 = NDArray[np.float64]
SAMPLES = 1000


def hits(top: Top, truth: Lists, k: int) -> Bool:
    """[U, width] whether an entry is relevant and counts among the first k."""
    users = np.arange(len(truth), dtype=np.int64)[:, None]
    wanted = np.unique(_key(truth.row, truth.item))
    found = np.isin(_key(users, top.item), wanted) & (top.item >= 0)
    return np.asarray(found & (top.rank < k))


def recall(top: Top, truth: Lists, k: int) -> Float64:
    """[U] the share of the relevant items among the first k; with one relevant item the hit rate."""
    return np.asarray(_share(hits(top, truth, k).sum(axis=1), truth.sizes))


def ndcg(top: Top, truth: Lists, k: int) -> Float64:
    """[U] discounted gain of binary relevance over the best that is possible with k places."""
    gain = hits(top, truth, k) / np.log2(top.rank.astype(np.float64) + 2)
    best = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    return _share(gain.sum(axis=1), best[np.minimum(truth.sizes, k)])


def coverage(top: Top, k: int, items: int) -> float:
    """The share of the catalogue that anybody is shown among the first k."""
    shown = top.item[:, :k]
    return len(np.unique(shown[shown >= 0])) / items


@dataclass(frozen=True, slots=True)
class Measure:
    """Such as recall@10."""

    name: str
    k: int

    def __str__(self) -> str:
        return f"{self.name}@{self.k}"

    def __call__(self, top: Top, truth: Lists) -> Float64:
        return {"recall": recall, "ndcg": ndcg}[self.name](top, truth, self.k)


def per_user(top: Top, truth: Lists, measures: tuple[Measure, ...]) -> Mapping[str, Float64]:
    return {str(measure): measure(top, truth) for measure in measures}


def paired(mine: Float64, other: Float64, samples: int = SAMPLES, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean difference a user, by resampling users (those undefined left out)."""
    difference = mine - other
    difference = difference[np.isfinite(difference)]
    if not len(difference):
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    means = [difference[random.integers(0, len(difference), len(difference))].mean() for _ in range(samples)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def mean(values: Float64) -> float:
    """Over the users for whom it is defined."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _key(user: Int64, item: NDArray[Any]) -> Int64:
    return np.asarray((user << 32) | item.astype(np.int64))


def _share(part: NDArray[Any], whole: NDArray[Any]) -> Float64:
    return np.asarray(np.divide(part, whole, out=np.full(len(whole), np.nan), where=np.asarray(whole) > 0))
