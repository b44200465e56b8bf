"""What is measured, as pure functions on arrays: of slates ``[U, k]`` (item codes, -1 = empty), and of predictions.

A measure a user comes as ``PerUser``: the whole vector and its mean, so that intervals and cohorts can be had from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upnext.types import Bool, Float32, Float64, Int32, Int64, Ragged, ragged_rows

Numbers = NDArray[np.bool_ | np.integer[Any] | np.floating[Any]]

XAUC_PAIRS = 2_000_000


@dataclass(frozen=True, slots=True)
class PerUser:
    """One number a user, NaN where it is not defined; ``weight`` (None = all alike) enters the mean."""

    value: Float64  # [U]
    weight: Float64 | None = None

    @property
    def mean(self) -> float:
        """Over the users for whom it is defined; NaN where there are none."""
        defined = np.isfinite(self.value)
        if not defined.any():
            return float("nan")
        return float(np.average(self.value[defined], weights=None if self.weight is None else self.weight[defined]))


# Slates against what was chosen later. ``truth`` are each user's relevant items; users without any are undefined.


def hits(slates: Int32, truth: Ragged) -> Bool:
    """Whether the item at each position is relevant to its user, ``[U, k]``."""
    users = np.arange(len(slates), dtype=np.int64)[:, None]
    keys = np.unique(_keys(ragged_rows(truth.offsets), truth.item))
    return np.asarray(np.isin(_keys(users, slates), keys) & (slates >= 0))


def relevant(truth: Ragged) -> Int64:
    """How many different relevant items each user has, ``[U]``."""
    keys = np.unique(_keys(ragged_rows(truth.offsets), truth.item))
    return np.bincount(keys >> 32, minlength=len(truth.offsets) - 1)


def recall(slates: Int32, truth: Ragged, k: int) -> PerUser:
    """The share of the relevant items that are among the first ``k``."""
    return _ratio(hits(slates[:, :k], truth).sum(axis=1), relevant(truth))


def worth_held(slates: Int32, truth: Ragged, worth: Float32, k: int) -> PerUser:
    """The share of the ``worth`` of all relevant items, ``[len(truth.item)]``, that is among the first ``k``.

    Users count by the worth of theirs, each of which is there once; those without any worth are undefined.
    """
    rows, users = ragged_rows(truth.offsets), len(slates)
    first = slates[:, :k]
    shown = _keys(np.arange(users, dtype=np.int64)[:, None], first)[first >= 0]
    held = worth * np.isin(_keys(rows, truth.item), shown)
    total, found = (np.bincount(rows, amount, minlength=users) for amount in (worth, held))
    return PerUser(_ratio(found, np.maximum(total, 0)).value, np.maximum(total, 0))


def hit_rate(slates: Int32, truth: Ragged, k: int) -> PerUser:
    """1 where any of the first ``k`` is relevant."""
    found = hits(slates[:, :k], truth).any(axis=1)
    return PerUser(np.where(relevant(truth) > 0, found, np.nan))


def ndcg(slates: Int32, truth: Ragged, k: int) -> PerUser:
    """Discounted gain of binary relevance, over the best possible with min(k, relevant) items on top."""
    found = hits(slates[:, :k], truth)
    ideal = np.concatenate([[0.0], np.cumsum(_discount(k))])[np.minimum(relevant(truth), k)]
    return _ratio(found @ _discount(found.shape[1]), ideal)


def mrr(slates: Int32, truth: Ragged) -> PerUser:
    """One over the rank of the first relevant item, 0 where none is in the slate."""
    found = hits(slates, truth)
    best = (found / np.arange(1, found.shape[1] + 1)).max(axis=1, initial=0.0)
    return PerUser(np.where(relevant(truth) > 0, best, np.nan))


def coverage(slates: Int32, k: int, items: int) -> float:
    """The share of ``items`` that anybody is shown among the first ``k``."""
    shown = slates[:, :k]
    return len(np.unique(shown[shown >= 0])) / items if items else float("nan")


def diversity(slates: Int32, k: int, similarity: Callable[[Int32], Float32]) -> PerUser:
    """Intra-list diversity: the mean of 1 - similarity over all pairs; ``similarity(items [n]) -> [n, n]``."""
    value = np.full(len(slates), np.nan)
    for user, slate in enumerate(slates[:, :k]):
        shown = slate[slate >= 0]
        if len(shown) > 1:
            alike = similarity(shown)
            pairs = len(shown) * (len(shown) - 1)
            value[user] = 1.0 - (alike.sum(dtype=np.float64) - alike.trace(dtype=np.float64)) / pairs
    return PerUser(value)


def novelty(slates: Int32, k: int, seen: Numbers) -> PerUser:
    """Mean self-information in bits of what is shown; ``seen[item]`` are its events in training (one is added)."""
    share = (seen + 1.0) / (seen.sum() + len(seen))
    return _slate_mean(slates[:, :k], -np.log2(share))


def share_of_fresh(slates: Int32, k: int, published_at: Int64, now: Int64, max_age_ms: int) -> PerUser:
    """The share published at most ``max_age_ms`` before each ``now`` ``[U]``; an unknown time (0) is not fresh."""
    shown = slates[:, :k]
    published = np.concatenate([published_at, [0]])[shown]  # -1 reads the appended unknown
    age = now[:, None] - published
    fresh = (published > 0) & (age >= 0) & (age <= max_age_ms)
    return _ratio(fresh.sum(axis=1), (shown >= 0).sum(axis=1))


# Predictions against outcomes, a row each.


def auc(label: Numbers, score: Numbers) -> float:
    """The chance that a positive scores above a negative, equal scores counting half; NaN without both."""
    return float(_group_auc(np.zeros(len(label), np.int64), label, score, 1)[0])


def gauc(user: Numbers, label: Numbers, score: Numbers) -> PerUser:
    """AUC within each user (codes >= 0) who has both labels, weighted by the user's rows."""
    groups = int(user.max()) + 1 if len(user) else 0
    rows = np.bincount(user, minlength=groups).astype(np.float64)
    return PerUser(_group_auc(user.astype(np.int64), label, score, groups), rows)


def reliability(label: Numbers, probability: Numbers, bins: int = 20) -> list[tuple[float, float, int]]:
    """Mean prediction, rate of positives and rows of each of ``bins`` equally wide bins that has rows."""
    index = np.minimum((probability * bins).astype(np.int64), bins - 1)
    rows = np.bincount(index, minlength=bins)
    predicted = np.bincount(index, probability, bins)
    positive = np.bincount(index, label, bins)
    return [(float(predicted[b] / rows[b]), float(positive[b] / rows[b]), int(rows[b])) for b in np.flatnonzero(rows)]


def ece(label: Numbers, probability: Numbers, bins: int = 20) -> float:
    """Expected calibration error: how far prediction and rate lie apart, over the bins, weighted by rows."""
    points = np.array(reliability(label, probability, bins)).reshape(-1, 3)
    return float(np.average(np.abs(points[:, 0] - points[:, 1]), weights=points[:, 2])) if len(points) else float("nan")


def log_loss(label: Numbers, probability: Numbers) -> float:
    """Mean negative log-likelihood in nats; predictions are kept 1e-7 away from 0 and 1."""
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return _mean(-np.where(label > 0, np.log(p), np.log1p(-p)))


def mae(target: Numbers, prediction: Numbers) -> float:
    """Mean absolute error."""
    return _mean(np.abs(target.astype(np.float64) - prediction))


def xauc(target: Numbers, prediction: Numbers, pairs: int = XAUC_PAIRS, seed: int = 0) -> float:
    """Over random pairs with different targets, how often the predictions order them right (equal ones: half)."""
    if len(target) < 2:
        return float("nan")
    one, other = np.random.default_rng(seed).integers(0, len(target), (2, pairs))
    different = target[one] != target[other]
    one, other = one[different], other[different]
    right = (target[one] > target[other]) == (prediction[one] > prediction[other])
    return _mean(np.where(prediction[one] == prediction[other], 0.5, right))


def bootstrap(value: Float64, samples: int = 1000, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """The interval of the mean over users (NaN left out) by resampling them."""
    defined = value[np.isfinite(value)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = [defined[rng.integers(0, len(defined), len(defined))].mean() for _ in range(samples)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _group_auc(group: Int64, label: Numbers, score: Numbers, groups: int) -> Float64:
    """AUC by ranks within each group (Mann and Whitney); equal scores share their mean rank."""
    order = np.lexsort((score, group))
    group, score, positive = group[order], score[order], label[order] > 0
    start = np.flatnonzero(np.r_[True, (group[1:] != group[:-1]) | (score[1:] != score[:-1])][: len(group)])
    size = np.diff(np.r_[start, len(group)])
    rank = np.repeat(start + (size + 1) / 2, size)  # counted from 1 over all groups together
    rows = np.bincount(group, minlength=groups)
    before = np.cumsum(rows) - rows
    positives = np.bincount(group, positive, groups)
    negatives = rows - positives
    wins = np.bincount(group, positive * (rank - before[group]), groups) - positives * (positives + 1) / 2
    return _ratio(wins, positives * negatives).value


def _slate_mean(slates: Int32, of_item: Float64) -> PerUser:
    shown = slates >= 0
    return _ratio(np.where(shown, of_item[np.where(shown, slates, 0)], 0.0).sum(axis=1), shown.sum(axis=1))


def _ratio(part: Numbers, whole: Numbers) -> PerUser:
    out = np.full(len(whole), np.nan)
    return PerUser(np.divide(part, whole, out=out, where=np.asarray(whole) > 0))


def _discount(k: int) -> Float64:
    return 1.0 / np.log2(np.arange(2, k + 2))


def _mean(values: Numbers) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _keys(user: Int64, item: Int32) -> Int64:
    return (user << 32) + item
