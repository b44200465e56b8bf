"""Shares of a space, asked together, are the space; a share that is away is all that is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.candidates.index import ItemIndex
from upnext.candidates.item_space import LocalSpace
from upnext.candidates.share import Share
from upnext.candidates.spread import TOLD_AT_MOST, Places, SpreadSpace
from upnext.types import Float32
from upnext.vectors import Vectors

SIZE = 8


def unit(random: np.random.Generator, n: int) -> Float32:
    vectors = random.normal(size=(n, SIZE)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def whole(vectors: Float32, exact_below: int) -> LocalSpace:
    """Every third item has no place in the index."""
    codes = np.flatnonzero(np.arange(len(vectors)) % 3).astype(np.int32)
    table = Vectors(vectors)
    return LocalSpace(table, ItemIndex.build_of(codes, table, exact_below))


class Shares:
    """Shares in this process; those in ``away`` do not answer."""

    def __init__(self, space: LocalSpace, number: int) -> None:
        self.places = Places(len(space), number)
        self.shares = [Share(space.share(*self.places.range_of(share))) for share in range(number)]
        self.away: set[int] = set()

    def ask(self, verb: str, wanted: Sequence[tuple[Any, ...] | None]) -> list[Any]:
        return [
            None if one is None or share in self.away else getattr(self.shares[share], verb)(*one)
            for share, one in enumerate(wanted)
        ]

    def spread(self) -> SpreadSpace:
        return SpreadSpace(self.ask, self.places, SIZE)


@given(st.integers(0, 50), st.integers(1, 7), st.integers(0, 200))
def test_every_item_lies_in_one_place_and_is_found_there(items: int, shares: int, code: int) -> None:
    places = Places(items, shares)
    (share,) = places.share_of(np.array([code])).tolist()
    assert 0 <= share < shares
    local = places.local(share, np.array([code]))
    assert places.whole(share, local).tolist() == [code]
    others = np.delete(np.arange(300), code)
    others = others[places.share_of(others) == share]
    assert local[0] not in places.local(share, others)


def test_what_is_no_item_lies_nowhere() -> None:
    assert Places(10, 3).share_of(np.array([-1])).tolist() == [-1]
    assert Places(10, 3).whole(1, np.array([-1], np.int32)).tolist() == [-1]


@pytest.mark.parametrize("exact_below", [10_000, 1])
def test_shares_find_what_the_whole_finds(exact_below: int) -> None:
    random = np.random.default_rng(0)
    space = whole(unit(random, 3_000), exact_below)
    spread = Shares(space, 3).spread()
    queries = unit(random, 20)
    codes, scores = space.search(queries, 50)
    found, their = spread.search(queries, 50)
    np.testing.assert_allclose(their, scores, atol=1e-6)
    same = np.mean([len(np.intersect1d(one, other)) / 50 for one, other in zip(codes, found, strict=True)])
    assert same == 1.0 if exact_below > 3_000 else same > 0.99  # with cells, a share looks a little further
    asked = np.array([[5, -1], [2_999, 0]])
    np.testing.assert_array_equal(spread[asked], space[asked])
    np.testing.assert_array_equal(spread.known(asked), space.known(asked))
    assert spread.sizes == space.sizes


def test_changes_reach_the_share_that_they_concern() -> None:
    random = np.random.default_rng(1)
    vectors = unit(random, 100)
    space, shares = whole(vectors, 1_000), Shares(whole(vectors, 1_000), 3)
    spread, codes = shares.spread(), np.array([3, 50, 100, 101, 102, 140], np.int32)
    fresh = unit(random, len(codes))
    for one in (space, spread):
        one.put(codes, fresh)
        one.remove(np.array([7, 101], np.int32))
    queries = unit(random, 5)
    for mine, theirs in zip(spread.search(queries, 200), space.search(queries, 200), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    np.testing.assert_array_equal(spread[codes], space[codes])
    assert len(spread) == len(space) == 141
    for one in (space, spread):
        one.rebuild(queries)
    np.testing.assert_array_equal(spread.search(queries, 90)[0], space.search(queries, 90)[0])
    assert spread.sizes == space.sizes
    assert spread.recall(queries, 10) == 1.0


def test_a_share_that_is_away_is_all_that_is_missing_and_comes_back_with_what_it_was_told() -> None:
    random = np.random.default_rng(2)
    space = whole(unit(random, 90), 1_000)
    shares = Shares(space, 3)
    spread, queries = shares.spread(), unit(random, 4)
    late = np.array([90, 91, 92, 40], np.int32)
    spread.put(late, unit(random, len(late)))
    spread.remove(np.array([41], np.int32))
    before = spread.search(queries, 93)[0]
    shares.away.add(1)
    without = spread.search(queries, 93)[0]
    lost = set(before.ravel().tolist()) - set(without.ravel().tolist())
    assert lost == {code for code in before.ravel().tolist() if 30 <= code < 60 or code == 91}
    assert not spread[np.array([40])].any()
    assert spread[np.array([90])].any()
    shares.shares[1] = Share(space.share(30, 60))  # begins anew, as it was published
    shares.away.clear()
    spread.again(1)
    np.testing.assert_array_equal(spread.search(queries, 93)[0], before)


def test_what_is_remembered_for_a_share_is_short_and_comes_to_the_same() -> None:
    random = np.random.default_rng(3)
    space = whole(unit(random, 60), 1_000)
    shares = Shares(space, 3)
    spread, queries = shares.spread(), unit(random, 4)
    for _ in range(3 * TOLD_AT_MOST):
        codes = random.choice(80, 3, replace=False).astype(np.int32)
        if random.random() < 0.3:
            spread.remove(codes)
        else:
            spread.put(codes, unit(random, 3))
    assert len(spread._told) <= TOLD_AT_MOST + 1
    before, vectors = spread.search(queries, 80)[0], spread[np.arange(80)]
    for share in range(3):
        shares.shares[share] = Share(
            whole(unit(np.random.default_rng(3), 60), 1_000).share(*shares.places.range_of(share))
        )
        spread.again(share)
    np.testing.assert_array_equal(spread.search(queries, 80)[0], before)
    np.testing.assert_array_equal(spread[np.arange(80)], vectors)
