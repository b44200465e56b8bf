from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from implicit.als import AlternatingLeastSquares
from scipy import sparse
from threadpoolctl import threadpool_limits

from upnext.candidates.als import ALS, ALSFactors
from upnext.candidates.index import ItemIndex
from upnext.errors import ArtifactError
from upnext.stages import Source
from upnext.testing.source_contract import PairScorerContract, requests_of, scores_of
from upnext.types import Float32, Requests

ITEMS, SIZE = 60, 8
CLICK, LIKE = 0, 1
WEIGHT, LEAST = np.array([1, 2], np.float32), np.array([-np.inf, -np.inf], np.float32)


@cache
def factors() -> ALSFactors:
    vectors = np.abs(np.random.default_rng(3).normal(size=(ITEMS, SIZE))).astype(np.float32)
    return ALSFactors(vectors, np.arange(ITEMS, dtype=np.int32), regularization=0.1, alpha=5.0)


def some_requests() -> Requests:
    return requests_of([[1, 2, 3], [7], [], [50, 51, 50, 50, 9], list(range(16))])


class TestALS(PairScorerContract):
    items = ITEMS

    def make_source(self) -> Source:
        return ALS(factors(), WEIGHT, LEAST)

    def make_requests(self) -> Requests:
        return some_requests()


class TestIndexedALS(TestALS):
    def make_source(self) -> Source:
        return ALS(indexed(), WEIGHT, LEAST)

    def test_finds_what_the_full_scan_finds(self) -> None:
        requests = some_requests()
        found, expected = self.make_source()(requests, 9), ALS(factors(), WEIGHT, LEAST)(requests, 9)
        np.testing.assert_array_equal(found.item, expected.item)
        np.testing.assert_array_equal(found.offsets, expected.offsets)
        np.testing.assert_allclose(scores_of(found), scores_of(expected), rtol=1e-4)


def indexed() -> ALSFactors:
    return replace(factors(), index=ItemIndex.build(np.arange(ITEMS, dtype=np.int32), factors().item))


def implicit_user(items: list[int], weights: list[float]) -> Float32:
    """What the library itself computes for a user with these summed weights."""
    model = AlternatingLeastSquares(factors=SIZE, regularization=0.1, alpha=1.0, num_threads=1)
    model.item_factors, model.user_factors = factors().item, np.zeros((1, SIZE), np.float32)
    confidence = (1 + 5.0 * np.array(weights)).astype(np.float32)
    row = sparse.csr_matrix((confidence, items, [0, len(items)]), shape=(1, ITEMS))
    return np.asarray(model.recalculate_user(0, row))


def test_fold_in_equals_implicit() -> None:
    requests = requests_of([[4, 9, 4, 30], [5]])
    requests.acted.event[0, -1] = LIKE
    with threadpool_limits(1, "blas"):
        expected = [implicit_user([4, 9, 30], [2, 1, 2]), implicit_user([5], [1])]
    np.testing.assert_allclose(ALS(factors(), WEIGHT, LEAST).fold_in(requests), expected, rtol=1e-3, atol=1e-4)


def test_knows_nothing_of_a_stranger() -> None:
    source = ALS(factors(), WEIGHT, LEAST)
    assert len(source(requests_of([[], [3], []]), 5)) == len(source(requests_of([[3]]), 5)) > 0


def test_proposes_no_item_of_the_history_unless_allowed() -> None:
    source, requests = ALS(factors(), WEIGHT, LEAST), requests_of([[1, 2, 3]])
    assert not np.isin([1, 2, 3], source(requests, ITEMS).item).any()
    assert np.isin([1, 2, 3], source(replace(requests, allow_watched=True), ITEMS).item).all()


def test_anchors_are_the_history() -> None:
    source = ALS(factors(), WEIGHT, LEAST)
    anchored = source(requests_of([[1, 2, 3], [1, 2, 3]], anchors=[[8], []]), 5)
    alone, usual = source(requests_of([[8]]), ITEMS), source(requests_of([[1, 2, 3]]), 5)
    allowed = alone.keep(~np.isin(alone.item, [1, 2, 3]))
    np.testing.assert_array_equal(anchored.of_request(0).item, allowed.item[:5])
    np.testing.assert_array_equal(anchored.of_request(1).item, usual.item)


@pytest.mark.parametrize("make", [factors, indexed])
def test_items_between_those_with_factors_change_nothing(make: Callable[[], ALSFactors]) -> None:
    """The same items under codes twice as large: the ones between them are strangers."""
    plain = make()
    codes = 2 * plain.codes
    index = None if plain.index is None else ItemIndex.build(codes, plain.item)
    spread = replace(plain, codes=codes, index=index)
    near, far = requests_of([[1, 2, 3], [], [5]]), requests_of([[2, 4, 9, 6], [7, 10_001], [-1, 10]])
    for source, asked in ((ALS(plain, WEIGHT, LEAST), near), (ALS(spread, WEIGHT, LEAST), far)):
        found = source(asked, 6)
        if asked is near:
            expected, score = found, source.score(asked, found)
            continue
        np.testing.assert_array_equal(found.item, 2 * expected.item)
        np.testing.assert_allclose(scores_of(found), scores_of(expected), rtol=1e-5)
        np.testing.assert_allclose(source.score(asked, found), score, rtol=1e-5)
        strangers = replace(found, item=found.item + 1)
        assert not source.score(asked, strangers).any()


@pytest.mark.parametrize("make", [factors, indexed])
def test_saves_and_loads(make: object, tmp_path: Path) -> None:
    assert callable(make)
    saved: ALSFactors = make()
    saved.save(tmp_path / "als")
    loaded = ALSFactors.load(tmp_path / "als")
    assert (loaded.index is None) == (saved.index is None)
    found, expected = (ALS(f, WEIGHT, LEAST)(some_requests(), 5) for f in (loaded, saved))
    np.testing.assert_array_equal(found.item, expected.item)
    np.testing.assert_array_equal(scores_of(found), scores_of(expected))


def test_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="upnext train"):
        ALSFactors.load(tmp_path)


def test_users_solve_the_equation_of_the_paper() -> None:
    """Also an item that was turned to at several times, whose weights make one confidence."""
    als, factor = ALS(factors(), WEIGHT, LEAST), factors().item.astype(np.float64)
    histories = [[1, 2, 1, 3, 1], [4], [], [*range(16)], [5, 99, 5]]
    found = als.fold_in(requests_of(histories))
    for row, history in enumerate(histories):
        confidence = np.ones(ITEMS)
        for item in history:
            if item < ITEMS:
                confidence[item] += 5.0
        chosen = confidence > 1
        normal = (factor.T * confidence) @ factor + 0.1 * np.eye(SIZE)
        expected = np.linalg.solve(normal, (factor.T * confidence) @ chosen)
        assert found[row] == pytest.approx(expected, abs=1e-5)
