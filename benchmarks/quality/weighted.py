"""Measures of predictions as functions of a weight a user, so that resampling users is a new weight and nothing else.

With all weights 1 they are those of ``upnext.evaluation.metrics``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upnext.evaluation.metrics import XAUC_PAIRS, gauc
from upnext.types import Float64, Int64

Numbers = NDArray[Any]
Weighted = Callable[[Float64], float]
"""``measure(weight [users]) -> value``."""

BINS = 20
SAMPLES = 200


def auc_of(user: Int64, label: Numbers, score: Numbers) -> Weighted:
    order = np.argsort(score, kind="stable")
    user, label, score = user[order], label[order] > 0, score[order]
    start = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])

    def measure(weight: Float64) -> float:
        mine = weight[user]
        positive, negative = (np.add.reduceat(mine * side, start) for side in (label, ~label))
        below = np.cumsum(negative) - negative / 2
        return float((positive * below).sum() / (positive.sum() * negative.sum()))

    return measure


def gauc_of(user: Int64, label: Numbers, score: Numbers) -> Weighted:
    found = gauc(user, label, score)
    assert found.weight is not None
    defined = np.flatnonzero(np.isfinite(found.value))
    value, rows = found.value[defined], found.weight[defined]

    def measure(weight: Float64) -> float:
        return float(np.average(value, weights=rows * weight[defined]))

    return measure


def ece_of(user: Int64, label: Numbers, score: Numbers) -> Weighted:
    place = np.minimum((score * BINS).astype(np.int64), BINS - 1)

    def measure(weight: Float64) -> float:
        mine = weight[user]
        apart = np.bincount(place, mine * score, BINS) - np.bincount(place, mine * label, BINS)
        return float(np.abs(apart).sum() / mine.sum())

    return measure


def mae_of(user: Int64, target: Numbers, predicted: Numbers) -> Weighted:
    apart = np.abs(target.astype(np.float64) - predicted)
    return lambda weight: float(np.average(apart, weights=weight[user]))


def xauc_of(user: Int64, target: Numbers, predicted: Numbers) -> Weighted:
    """The same random pairs as ``metrics.xauc``."""
    one, other = np.random.default_rng(0).integers(0, len(target), (2, XAUC_PAIRS))
    different = target[one] != target[other]
    one, other = one[different], other[different]
    right = (target[one] > target[other]) == (predicted[one] > predicted[other])
    worth = np.where(predicted[one] == predicted[other], 0.5, right)
    one, other = user[one], user[other]
    return lambda weight: float(np.average(worth, weights=weight[one] * weight[other]))


BINARY: Mapping[str, Callable[[Int64, Numbers, Numbers], Weighted]] = {"AUC": auc_of, "GAUC": gauc_of, "ECE": ece_of}
SECONDS: Mapping[str, Callable[[Int64, Numbers, Numbers], Weighted]] = {"MAE s": mae_of, "XAUC": xauc_of}


def draws(users: int, samples: int = SAMPLES, seed: int = 0) -> list[Float64]:
    """How often each user is in each resample of the users."""
    random = np.random.default_rng(seed)
    return [np.bincount(random.integers(0, users, users), minlength=users).astype(np.float64) for _ in range(samples)]
