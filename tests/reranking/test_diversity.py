from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reranking.views import catalogue, plain_catalogue, table, vectors
from upnext.reranking.dpp import DPP, RIDGE, dpp
from upnext.reranking.mmr import MMR, mmr
from upnext.reranking.order import by_utility, unit_scale
from upnext.reranking.similarity import Similarity, cosine, jaccard, same_author
from upnext.stages import Reranker
from upnext.testing.reranker_contract import SIZES, RerankerContract, candidates, requests
from upnext.types import Candidates, Float32, Float64
from upnext.vectors import Vectors

ALIKE = Similarity(catalogue, vectors)


class TestMMR(RerankerContract):
    def reranker(self) -> Reranker:
        return MMR(ALIKE, diversity=0.4, pool=30)


class TestDPP(RerankerContract):
    def reranker(self) -> Reranker:
        return DPP(ALIKE, diversity=0.4, pool=30, window=5)


METHODS: list[Callable[[Similarity, float, int], Reranker]] = [
    MMR,
    lambda alike, diversity, pool: DPP(alike, diversity, pool, window=10),
]


@pytest.mark.parametrize("method", METHODS)
def test_no_diversity_is_the_order_by_utility(method: Callable[[Similarity, float, int], Reranker]) -> None:
    rows = candidates(SIZES, 0)
    asked = replace(requests(len(SIZES), 10), diversity=0.0)
    order = method(ALIKE, 0.9, 30)(asked, rows)
    for request, start in enumerate(rows.offsets[:-1]):
        mine = order.rows[order.offsets[request] : order.offsets[request + 1]]
        utility = rows["utility"][start : rows.offsets[request + 1]].astype(np.float64)
        assert mine.tolist() == (start + np.argsort(-utility, kind="stable")).tolist()


@pytest.mark.parametrize("method", METHODS)
def test_the_requests_diversity_goes_before_the_configured_one(
    method: Callable[[Similarity, float, int], Reranker],
) -> None:
    rows = candidates((40,), 1)
    asked = requests(1, 10)
    bold = method(ALIKE, 0.9, 40)(asked, rows).rows.tolist()
    assert method(ALIKE, 0.0, 40)(replace(asked, diversity=0.9), rows).rows.tolist() == bold
    assert method(ALIKE, 0.0, 40)(asked, rows).rows.tolist() != bold


@pytest.mark.parametrize("method", METHODS)
def test_a_slate_of_copies_is_broken_up(method: Callable[[Similarity, float, int], Reranker]) -> None:
    items = replace(plain_catalogue(7), author=np.array([1, 1, 1, 2, 2, 3, 4], np.int32))
    rows = table([[0, 1, 2, 3, 4, 5, 6]], utility=[1.0, 0.99, 0.98, 0.97, 0.96, 0.95, 0.0])
    order = method(Similarity(lambda: items), 0.5, 7)(requests(1, 3), rows)
    assert order.rows.tolist() == [0, 3, 5, 1, 2, 4, 6]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 0.0), (1e4, -3e4), (1.0, 7.0)])
def test_the_strength_means_the_same_on_every_scale(
    method: Callable[[Similarity, float, int], Reranker], scale: float, shift: float
) -> None:
    utility = np.linspace(0, 1, 65, dtype=np.float32)[np.random.default_rng(3).permutation(65)]
    asked = requests(1, 10)
    rows = candidates((65,), 5, utility)
    scaled = candidates((65,), 5, (utility * np.float32(scale) + np.float32(shift)).astype(np.float32))
    reranker = method(ALIKE, 0.3, 65)
    assert reranker(asked, rows).rows[:10].tolist() == reranker(asked, scaled).rows[:10].tolist()


@pytest.mark.parametrize("method", METHODS)
def test_only_the_pool_is_chosen_from_and_the_rest_follows_by_utility(
    method: Callable[[Similarity, float, int], Reranker],
) -> None:
    rows = candidates((50,), 8)
    order = method(ALIKE, 1.0, 20)(requests(1, 5), rows).rows
    best = np.argsort(-rows["utility"].astype(np.float64), kind="stable")
    assert set(order[:20]) == set(best[:20])
    assert order[20:].tolist() == best[20:].tolist()
    left = [row for row in best[:20] if row not in set(order[:5])]
    assert order[5:20].tolist() == left


@st.composite
def pools(draw: st.DrawFn) -> tuple[Float64, Float32, int]:
    """Utilities and a positive semidefinite similarity with exact copies in it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 25))
    points = rng.normal(size=(n, draw(st.integers(1, 6)))).astype(np.float32)
    points[n // 2] = points[0]
    return rng.random(n), cosine(points), draw(st.integers(1, n))


@given(pools(), st.floats(0.01, 1.0))
def test_mmr_is_the_greedy_choice(pool: tuple[Float64, Float32, int], diversity: float) -> None:
    utility, alike, k = pool
    chosen = mmr(utility, alike, k, diversity).tolist()
    assert len(set(chosen)) == k
    for position, taken in enumerate(chosen):
        above = chosen[:position]

        def worth(item: int, above: list[int] = above) -> float:
            nearest = max((float(alike[item, other]) for other in above), default=0.0)
            return float((1 - diversity) * utility[item] - diversity * nearest)

        best = max(worth(item) for item in range(len(utility)) if item not in above)
        assert worth(taken) >= best - 1e-5


@given(pools(), st.sampled_from([0.05, 0.2, 0.5, 0.9, 1.0]), st.integers(1, 9))
def test_dpp_is_the_greedy_choice_by_determinants(
    pool: tuple[Float64, Float32, int], diversity: float, window: int
) -> None:
    utility, alike, k = pool
    kernel = (1 - RIDGE) * alike.astype(np.float64) + RIDGE * np.eye(len(utility))
    chosen = dpp(utility, alike, k, diversity, window).tolist()
    assert len(set(chosen)) == k
    for position, taken in enumerate(chosen):
        above = chosen[max(0, position + 1 - window) : position]

        def worth(item: int, above: list[int] = above) -> float:
            volumes = [np.linalg.det(kernel[np.ix_(known, known)]) for known in ([*above, item], above)]
            gain = np.log(max(volumes[0] / volumes[1], RIDGE))
            return float((1 - diversity) * utility[item] + diversity * gain)

        best = max(worth(item) for item in range(len(utility)) if item not in chosen[:position])
        assert worth(taken) >= best - 1e-3


def test_dpp_forgets_what_is_out_of_the_window() -> None:
    utility, alike = np.array([1.0, 0.9, 0.8]), cosine(np.array([[1, 0], [1, 0], [0, 1]], np.float32))
    assert dpp(utility, alike, 3, 0.5, window=2).tolist() == [0, 2, 1]
    assert dpp(utility, alike, 3, 0.5, window=1).tolist() == [0, 1, 2]


def test_by_utility_keeps_ties_as_they_came_and_puts_what_is_not_finite_last() -> None:
    rows = table([[0, 1, 2, 3], [4, 5]], utility=[np.nan, 1.0, 2.0, 1.0, -1.0, 5.0])
    assert by_utility(rows).rows.tolist() == [2, 1, 3, 0, 5, 4]


def test_unit_scale() -> None:
    assert unit_scale(np.array([2.0, 4.0, 3.0, np.nan, np.inf])).tolist() == [0, 1, 0.5, -1, -1]
    assert unit_scale(np.array([5.0, 5.0])).tolist() == [0, 0]
    assert unit_scale(np.array([np.nan])).tolist() == [-1]


def test_similarity_by_hand() -> None:
    items = replace(
        plain_catalogue(4),
        author=np.array([7, 7, -1, -1], np.int32),
        category=np.array([[1, 2], [2, 3], [2, 2], [-1, -1]], np.int32),
    )
    points = np.array([[1, 0], [0, 2], [-3, 0], [0, 0]], np.float32)
    alike = Similarity(lambda: items, lambda: Vectors(points), author=0.2, category=0.3, vector=0.5)
    expected = [
        [1.0, 0.2 + 0.3 / 3, 0.3 / 2 - 0.5, 0.0],
        [0.2 + 0.3 / 3, 1.0, 0.3 / 2, 0.0],
        [0.3 / 2 - 0.5, 0.3 / 2, 1.0, 0.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
    np.testing.assert_allclose(alike(np.arange(4, dtype=np.int32)), expected, atol=1e-6)


def test_without_vectors_author_and_category_share_the_whole() -> None:
    items = replace(plain_catalogue(2), author=np.array([7, 7], np.int32))
    assert Similarity(lambda: items)(np.array([0, 1], np.int32))[0, 1] == pytest.approx(0.5)


def test_items_that_the_views_do_not_reach_are_like_nothing() -> None:
    alike = Similarity(lambda: plain_catalogue(1), lambda: vectors(1))
    np.testing.assert_array_equal(alike(np.array([0, 1, 2], np.int32)), np.eye(3))


CATEGORIES = st.lists(st.lists(st.integers(-1, 6), min_size=3, max_size=3), min_size=1, max_size=8)


@given(CATEGORIES)
def test_jaccard_is_the_share_of_the_union(rows: list[list[int]]) -> None:
    found = jaccard(np.array(rows, np.int32))
    sets = [{code for code in row if code >= 0} for row in rows]
    expected = [[len(a & b) / max(len(a | b), 1) for b in sets] for a in sets]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_the_similarity_is_positive_semidefinite(seed: int) -> None:
    items = np.random.default_rng(seed).permutation(400)[:40].astype(np.int32)
    assert np.linalg.eigvalsh(ALIKE(items).astype(np.float64)).min() > -1e-5


def test_unknown_authors_are_not_the_same_author() -> None:
    found = same_author(np.array([-1, -1, 2, 2], np.int32))
    assert found.astype(int).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


@given(st.lists(st.lists(st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0]), max_size=6), min_size=1, max_size=3))
def test_by_utility_is_a_stable_sort_of_each_request(rows: list[list[float]]) -> None:
    sizes = np.cumsum([0, *map(len, rows)])
    utility = np.array([value for row in rows for value in row], np.float32)
    found = by_utility(Candidates(np.arange(sizes[-1], dtype=np.int32), sizes, {"utility": utility})).rows.tolist()
    expected = [
        row
        for start, end in zip(sizes.tolist(), sizes[1:].tolist(), strict=False)
        for row in sorted(
            range(start, end), key=lambda row: -float(utility[row]) if np.isfinite(utility[row]) else np.inf
        )
    ]
    assert found == expected
