from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.evaluation import metrics

NAN = float("nan")
ROWS = st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 5)), max_size=40)


def brute_auc(rows: list[tuple[bool, int]]) -> float:
    positives = [score for label, score in rows if label]
    negatives = [score for label, score in rows if not label]
    if not positives or not negatives:
        return NAN
    wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    return wins / (len(positives) * len(negatives))


@given(ROWS)
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool, int]]) -> None:
    label = np.array([label for _, label, _ in rows], np.bool_)
    score = np.array([score for *_, score in rows], np.float32)
    np.testing.assert_allclose(metrics.auc(label, score), brute_auc([row[1:] for row in rows]))


@given(ROWS)
def test_gauc_is_the_weighted_mean_of_each_users_auc(rows: list[tuple[int, bool, int]]) -> None:
    user = np.array([user for user, *_ in rows], np.int32)
    label = np.array([label for _, label, _ in rows], np.float32)
    score = np.array([score for *_, score in rows], np.float32)
    of_user: dict[int, list[tuple[bool, int]]] = defaultdict(list)
    for name, clicked, points in rows:
        of_user[name].append((clicked, points))
    aucs = {name: (brute_auc(mine), len(mine)) for name, mine in of_user.items()}
    both = [(value, weight) for value, weight in aucs.values() if not math.isnan(value)]
    expected = sum(v * w for v, w in both) / sum(w for _, w in both) if both else NAN
    found = metrics.gauc(user, label, score)
    np.testing.assert_allclose(found.mean, expected)
    for name, (value, _) in aucs.items():
        np.testing.assert_allclose(found.value[name], value)


def test_auc_by_hand() -> None:
    assert metrics.auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert metrics.auc(np.array([1, 0]), np.array([0.5, 0.5])) == 0.5
    assert math.isnan(metrics.auc(np.array([1, 1]), np.array([0.5, 0.6])))
    assert math.isnan(metrics.auc(np.empty(0), np.empty(0)))


def test_auc_is_exact_on_many_rows() -> None:
    rng = np.random.default_rng(0)
    label, score = rng.random(300_000) < 0.3, rng.integers(0, 1000, 300_000)
    positive, negative = np.bincount(score[label], minlength=1000), np.bincount(score[~label], minlength=1000)
    below = np.cumsum(negative) - negative
    expected = (positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum())
    assert metrics.auc(label, score) == pytest.approx(expected, abs=1e-12)


def test_reliability_and_ece_by_hand() -> None:
    probability = np.array([0.02, 0.04, 0.52, 1.0], np.float32)
    label = np.array([0, 1, 1, 1])
    points = metrics.reliability(label, probability)
    np.testing.assert_allclose(points, [(0.03, 0.5, 2), (0.52, 1, 1), (1, 1, 1)], rtol=1e-6)
    assert metrics.ece(label, probability) == pytest.approx((2 * 0.47 + 0.48) / 4)
    assert math.isnan(metrics.ece(np.empty(0), np.empty(0)))


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=50))
def test_ece_is_that_of_brute_force(rows: list[tuple[int, float]]) -> None:
    bins: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for one, p in rows:
        bins[min(int(p * 20), 19)].append((one, p))
    expected = sum(abs(sum(p for _, p in mine) - sum(one for one, _ in mine)) for mine in bins.values()) / len(rows)
    label, probability = np.array(rows).T
    assert metrics.ece(label, probability) == pytest.approx(expected, abs=1e-9)


def test_perfect_calibration() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(200_000)
    assert metrics.ece(rng.random(200_000) < p, p) < 0.01


def test_log_loss_by_hand() -> None:
    found = metrics.log_loss(np.array([1, 0]), np.array([0.8, 0.5]))
    assert found == pytest.approx(-(math.log(0.8) + math.log(0.5)) / 2)
    assert metrics.log_loss(np.array([1]), np.array([0.0], np.float32)) == pytest.approx(-math.log(1e-7))
    assert math.isnan(metrics.log_loss(np.empty(0), np.empty(0)))


def test_mae_by_hand() -> None:
    assert metrics.mae(np.array([1.0, 5.0], np.float32), np.array([2.0, 2.0], np.float32)) == 2.0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_xauc_nears_the_share_of_all_pairs_in_order(rows: list[tuple[int, int]]) -> None:
    pairs = [(a, b) for a in rows for b in rows if a[0] > b[0]]
    right = [1.0 if a[1] > b[1] else 0.5 if a[1] == b[1] else 0.0 for a, b in pairs]
    target, prediction = np.array(rows, np.float32).T
    found = metrics.xauc(target, prediction, pairs=20_000)
    if not pairs:
        assert math.isnan(found)
    else:
        drawn = 20_000 * 2 * len(pairs) / len(rows) ** 2
        assert found == pytest.approx(sum(right) / len(pairs), abs=2.5 / math.sqrt(drawn))


def test_xauc_follows_the_seed_and_needs_two_rows() -> None:
    rng = np.random.default_rng(0)
    target, prediction = rng.random(1000), rng.random(1000)
    assert metrics.xauc(target, prediction, 1000, seed=1) == metrics.xauc(target, prediction, 1000, seed=1)
    assert metrics.xauc(target, prediction, 1000, seed=1) != metrics.xauc(target, prediction, 1000, seed=2)
    assert metrics.xauc(target, target, 1000) == 1.0
    assert math.isnan(metrics.xauc(np.array([1.0]), np.array([1.0])))


def test_a_mean_can_be_weighted_and_leaves_out_the_undefined() -> None:
    found = metrics.PerUser(np.array([1.0, 0.0, NAN]), np.array([3.0, 1.0, 50.0]))
    assert found.mean == 0.75
    assert metrics.PerUser(np.array([1.0, 0.0, NAN])).mean == 0.5
