from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.evaluation import metrics
from upnext.types import Float32, Int32, Ragged

NAN = float("nan")


def slates(*rows: list[int]) -> Int32:
    return np.array(rows, np.int32)


SHOWN = slates([4, 7, 1, 9], [3, 2, -1, -1], [5, 6, 7, 8])
TRUTH = Ragged.of([[7, 9, 30, 7], [3], []])


def test_hits_and_relevant() -> None:
    assert metrics.hits(SHOWN, TRUTH).astype(int).tolist() == [[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert metrics.relevant(TRUTH).tolist() == [3, 1, 0]


def test_recall_by_hand() -> None:
    np.testing.assert_allclose(metrics.recall(SHOWN, TRUTH, 2).value, [1 / 3, 1, NAN])
    np.testing.assert_allclose(metrics.recall(SHOWN, TRUTH, 10).value, [2 / 3, 1, NAN])
    assert metrics.recall(SHOWN, TRUTH, 10).mean == pytest.approx(5 / 6)


def test_worth_held_by_hand() -> None:
    """One user's 7 and 9 are worth 2 and 6, and 30, which is never shown, 4; another's 3 is worth nothing."""
    truth, worth = Ragged.of([[7, 9, 30], [3], []]), np.array([2, 6, 4, 0], np.float32)
    found = metrics.worth_held(SHOWN, truth, worth, 2)
    np.testing.assert_allclose(found.value, [2 / 12, NAN, NAN])
    assert metrics.worth_held(SHOWN, truth, worth, 4).mean == pytest.approx(8 / 12)
    both = metrics.worth_held(SHOWN, truth, np.array([2, 6, 4, 36], np.float32), 4)
    assert both.mean == pytest.approx((8 + 36) / (12 + 36)), "who gave more counts more"


def test_hit_rate_by_hand() -> None:
    np.testing.assert_array_equal(metrics.hit_rate(SHOWN, TRUTH, 1).value, [0, 1, NAN])
    assert metrics.hit_rate(SHOWN, TRUTH, 2).mean == 1.0


def test_ndcg_by_hand() -> None:
    gain = 1 / math.log2(3) + 1 / math.log2(5)
    ideal = 1 + 1 / math.log2(3) + 0.5
    np.testing.assert_allclose(metrics.ndcg(SHOWN, TRUTH, 4).value, [gain / ideal, 1, NAN])
    np.testing.assert_allclose(metrics.ndcg(SHOWN, TRUTH, 2).value[0], (1 / math.log2(3)) / (1 + 1 / math.log2(3)))


def test_mrr_by_hand() -> None:
    np.testing.assert_allclose(metrics.mrr(SHOWN, TRUTH).value, [0.5, 1, NAN])


def test_coverage_counts_items_once_and_no_padding() -> None:
    assert metrics.coverage(SHOWN, 4, 20) == 9 / 20
    assert metrics.coverage(SHOWN, 1, 20) == 3 / 20
    assert math.isnan(metrics.coverage(SHOWN, 1, 0))


def test_diversity_is_the_mean_difference_of_all_pairs() -> None:
    def parity(items: Int32) -> Float32:
        return np.asarray(items[:, None] % 2 == items % 2, np.float32)

    found = metrics.diversity(slates([1, 3, 2], [2, 4, 6], [1, -1, -1]), 3, parity)
    np.testing.assert_allclose(found.value, [2 / 3, 0, NAN])


def test_novelty_is_mean_self_information() -> None:
    seen = np.array([7, 0, 1])  # with one added each: 8, 1, 2 of 11
    found = metrics.novelty(slates([0, 1], [2, -1], [-1, -1]), 2, seen)
    np.testing.assert_allclose(found.value, [(math.log2(11 / 8) + math.log2(11)) / 2, math.log2(11 / 2), NAN])


def test_share_of_fresh_knows_each_users_now() -> None:
    published = np.array([100, 0, 90, 200])
    now = np.array([110, 200, 50])
    found = metrics.share_of_fresh(slates([0, 1, 2], [0, 3, -1], [-1, -1, -1]), 3, published, now, 15)
    np.testing.assert_allclose(found.value, [1 / 3, 1 / 2, NAN])


def test_nobody() -> None:
    nobody = np.empty((0, 4), np.int32)
    for found in (
        metrics.recall(nobody, Ragged.empty(0), 4),
        metrics.hit_rate(nobody, Ragged.empty(0), 4),
        metrics.ndcg(nobody, Ragged.empty(0), 4),
        metrics.mrr(nobody, Ragged.empty(0)),
    ):
        assert found.value.shape == (0,)
        assert math.isnan(found.mean)


def test_empty_slates() -> None:
    empty, truth = np.empty((1, 0), np.int32), Ragged.of([[1]])
    assert metrics.recall(empty, truth, 4).mean == 0
    assert metrics.ndcg(empty, truth, 4).mean == 0
    assert metrics.mrr(empty, truth).mean == 0


def test_bootstrap_contains_the_mean_and_narrows() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(3, 1, 50), rng.normal(3, 1, 5000)
    low, high = metrics.bootstrap(np.r_[few, NAN])
    assert low < few.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * few.std() / math.sqrt(50), rel=0.15)
    narrow = metrics.bootstrap(many)
    assert narrow[1] - narrow[0] < (high - low) / 5
    assert metrics.bootstrap(few, seed=4) == metrics.bootstrap(few, seed=4)
    assert all(math.isnan(end) for end in metrics.bootstrap(np.array([NAN])))


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    users = draw(st.integers(1, 5))
    slate = st.permutations(range(8)).flatmap(lambda items: st.integers(0, 6).map(lambda n: items[:n]))
    shown = draw(st.lists(slate, min_size=users, max_size=users))
    truth = st.lists(st.integers(0, 9), max_size=5)
    return shown, draw(st.lists(truth, min_size=users, max_size=users))


@given(cases(), st.integers(1, 8))
def test_slate_metrics_are_those_of_brute_force(case: tuple[list[list[int]], list[list[int]]], k: int) -> None:
    shown, truth = case
    padded = slates(*[row + [-1] * (8 - len(row)) for row in shown])
    recall, hit, ndcg, mrr = [], [], [], []
    for row, wanted in zip(shown, (set(items) for items in truth), strict=True):
        ranks = [rank for rank, item in enumerate(row[:k]) if item in wanted]
        best = sum(1 / math.log2(rank + 2) for rank in range(min(k, len(wanted))))
        recall.append(len(ranks) / len(wanted) if wanted else NAN)
        hit.append(float(bool(ranks)) if wanted else NAN)
        ndcg.append(sum(1 / math.log2(rank + 2) for rank in ranks) / best if wanted else NAN)
        first = next((rank for rank, item in enumerate(row) if item in wanted), None)
        mrr.append((0.0 if first is None else 1 / (first + 1)) if wanted else NAN)
    ragged = Ragged.of(truth)
    np.testing.assert_allclose(metrics.recall(padded, ragged, k).value, recall)
    np.testing.assert_allclose(metrics.hit_rate(padded, ragged, k).value, hit)
    np.testing.assert_allclose(metrics.ndcg(padded, ragged, k).value, ndcg)
    np.testing.assert_allclose(metrics.mrr(padded, ragged).value, mrr)
