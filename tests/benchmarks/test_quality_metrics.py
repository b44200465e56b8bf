"""Lists and measures against brute force: every user and every item counted one by one, ties against."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from benchmarks.quality.lists import Top, top_for, top_k
from benchmarks.quality.metrics import coverage, ndcg, paired, recall
from benchmarks.quality.split import Lists

K = 7


def worlds(seed: int) -> tuple[np.ndarray, Lists, Lists]:
    """Scores with many ties, histories and truths."""
    random = np.random.default_rng(seed)
    scores = random.integers(0, 6, (12, 25)).astype(np.float64)
    picked = [random.permutation(25) for _ in range(12)]
    history = Lists.of([row[:3].tolist() for row in picked])
    truth = Lists.of([row[3 : 3 + random.integers(0, 5)].tolist() for row in picked])
    return scores, history, truth


def ranks(scores: np.ndarray, history: Lists, user: int) -> dict[int, int]:
    """The rank of every item that may be shown: how many others score at least as much."""
    allowed = [item for item in range(scores.shape[1]) if item not in history[user]]
    return {
        item: sum(scores[user, other] >= scores[user, item] for other in allowed if other != item) for item in allowed
    }


@pytest.mark.parametrize("seed", range(5))
def test_recall_and_ndcg_are_what_counting_finds(seed: int) -> None:
    scores, history, truth = worlds(seed)
    top = top_k(scores.copy(), K, history)
    for user in range(len(truth)):
        rank = ranks(scores, history, user)
        places = [rank[item] for item in truth[user].tolist() if rank[item] < K]
        wanted = len(truth[user])
        got = recall(top, truth, K)[user], ndcg(top, truth, K)[user]
        if not wanted:
            assert np.isnan(got).all()
            continue
        best = sum(1 / math.log2(place + 2) for place in range(min(wanted, K)))
        assert got[0] == pytest.approx(len(places) / wanted)
        assert got[1] == pytest.approx(sum(1 / math.log2(place + 2) for place in places) / best)


def test_all_equal_scores_find_nothing() -> None:
    top = top_k(np.zeros((1, 10)), 5, Lists.of([[]]))
    assert recall(top, Lists.of([[0]]), 5).tolist() == [0.0]


def test_what_is_excluded_or_without_a_score_is_not_shown() -> None:
    scores = np.array([[3.0, 2.0, -np.inf, 1.0]])
    top = top_k(scores, 4, Lists.of([[0]]))
    assert top.item.tolist() == [[1, 3, -1, -1]]
    assert top.rank[0, :2].tolist() == [0, 1]


def test_many_users_are_asked_in_parts() -> None:
    scores = np.random.default_rng(0).random((600, 30))
    history = Lists.of([[user % 30] for user in range(600)])
    asked = np.arange(0, 600, 2)
    found = top_for(asked, history, 5, lambda users: scores[users].copy())
    np.testing.assert_array_equal(found.item, top_k(scores[asked].copy(), 5, history.take(asked)).item)


def test_coverage_counts_different_items_of_the_first_places() -> None:
    top = Top.in_order(np.array([[0, 1, 9], [1, 2, -1]], np.int32))
    assert coverage(top, 2, 10) == pytest.approx(0.3)


def test_the_interval_of_a_difference_is_paired() -> None:
    random = np.random.default_rng(1)
    base = random.random(500)
    low, high = paired(base + 0.1, base)
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.1)
    low, high = paired(random.random(500), random.random(500))
    assert low < 0 < high


def test_lists_come_back_from_their_file(tmp_path: Path) -> None:
    top = top_k(np.random.default_rng(0).random((3, 9)), 4, Lists.of([[], [1], [2]]))
    top.save(tmp_path / "top.npz")
    found = Top.load(tmp_path / "top.npz")
    np.testing.assert_array_equal(found.item, top.item)
    np.testing.assert_array_equal(found.rank, top.rank)
