from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reranking.views import DAY, NOW, at, plain_catalogue, table
from upnext.reranking.filters import Available, Blocked, Excluded, InCategories, Published, Watched
from upnext.reranking.lookup import gather, in_lists, ragged
from upnext.stages import Filter
from upnext.testing.reranker_contract import requests
from upnext.types import NO_USER, Int32, Ragged, Users

NOBODY = Users(np.empty((0, 0), np.int32))


def codes(*items: int) -> Int32:
    return np.array(items, np.int32)


def nothing_hidden(user: int) -> Int32:
    return codes()


def test_every_filter_is_a_filter() -> None:
    filters: list[Filter] = [
        Available(lambda: plain_catalogue(1)),
        Published(lambda: plain_catalogue(1)),
        Watched(nothing_hidden),
        Excluded(),
        Blocked(lambda: plain_catalogue(1), lambda: NOBODY, nothing_hidden),
        InCategories(lambda: plain_catalogue(1)),
    ]
    for rule in filters:
        assert isinstance(rule, Filter)
        empty = rule(requests(2, 10), table([[], []]))
        assert empty.dtype == np.bool_
        assert empty.shape == (0,)
    assert len({rule.name for rule in filters}) == len(filters)


def test_available_refuses_withdrawn_items_and_codes_that_the_catalogue_lacks() -> None:
    items = plain_catalogue(3)
    items.available[1] = False
    keep = Available(lambda: items)(requests(2, 10), table([[0, 1, 2], [3, 2, -1]]))
    assert keep.tolist() == [True, False, True, False, True, False]


def test_available_sees_the_catalogue_grow() -> None:
    items = plain_catalogue(2)
    rule = Available(lambda: items)
    assert rule(requests(1, 10), table([[2]])).tolist() == [False]
    items = plain_catalogue(3)
    assert rule(requests(1, 10), table([[2]])).tolist() == [True]


def test_published_compares_with_the_time_of_each_request() -> None:
    items = replace(plain_catalogue(3), published_at=np.array([0, NOW, NOW + DAY]))
    keep = Published(lambda: items)(at(2, 10, np.array([NOW, NOW + DAY])), table([[0, 1, 2, 9], [0, 1, 2]]))
    assert keep.tolist() == [True, True, False, True, True, True, True]


def test_watched_looks_into_each_users_own_history() -> None:
    seen = {0: codes(1, 5), 1: codes(2)}
    keep = Watched(seen.__getitem__)(requests(2, 10), table([[1, 2, 5], [1, 2, 5]]))
    assert keep.tolist() == [False, True, False, True, False, True]


def test_watched_spares_what_watch_again_proposes() -> None:
    rows = table([[1, 2]], score_watch_again=[0.3, np.nan])
    assert Watched(lambda user: codes(1, 2))(requests(1, 10), rows).tolist() == [True, False]


def test_watched_takes_an_unknown_users_history_from_the_request() -> None:
    def seen(user: int) -> Int32:
        raise AssertionError(f"asked for the history of user {user}")

    anonymous = replace(requests(1, 10), user=codes(NO_USER))
    anonymous.acted.item[0] = [-1, -1, 7, 3]
    assert Watched(seen)(anonymous, table([[3, 4, 7]])).tolist() == [False, True, False]


def test_watched_lets_all_pass_where_the_request_allows_it() -> None:
    asked = replace(requests(1, 10), allow_watched=True)
    assert Watched(lambda user: codes(1))(asked, table([[1]])).tolist() == [True]


def test_excluded_removes_the_callers_items_and_the_anchors() -> None:
    asked = replace(requests(2, 10), exclude=Ragged.of([[4], []]), anchors=Ragged.of([[], [6]]))
    assert Excluded()(asked, table([[4, 6], [4, 6]])).tolist() == [False, True, True, False]


def test_blocked_authors_and_hidden_items() -> None:
    items = replace(plain_catalogue(4), author=codes(0, 1, -1, 1))
    users = Users(np.empty((2, 0), np.int32), {0: codes(1, -1)})
    hidden = {0: codes(0), 1: codes(3)}
    rule = Blocked(lambda: items, lambda: users, lambda user: hidden[user])
    keep = rule(requests(2, 10), table([[0, 1, 2, 3], [0, 1, 2, 3]]))
    assert keep.tolist() == [False, False, True, False, True, True, True, False]
    anonymous = replace(requests(1, 10), user=codes(NO_USER))
    assert rule(anonymous, table([[0, 1]])).tolist() == [True, True]


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        (None, [True, True, True, True]),
        ([5], [True, False, False, False]),
        ([5, 6], [True, True, False, False]),
        ([-1], [False, False, False, False]),
        ([], [False, False, False, False]),
    ],
)
def test_in_categories(wanted: list[int] | None, kept: list[bool]) -> None:
    items = replace(plain_catalogue(3), category=np.array([[5, 6], [6, -1], [-1, -1]], np.int32))
    asked = replace(requests(1, 10), categories=None if wanted is None else codes(*wanted))
    assert InCategories(lambda: items)(asked, table([[0, 1, 2, 3]])).tolist() == kept


LISTS = st.lists(st.lists(st.integers(-1, 9), max_size=6), min_size=1, max_size=4)


@given(rows=LISTS, data=st.data())
def test_in_lists_is_membership(rows: list[list[int]], data: st.DataObject) -> None:
    size = st.lists(st.integers(-1, 9), max_size=6)
    lists = data.draw(st.lists(size, min_size=len(rows), max_size=len(rows)))
    found = in_lists(table(rows).request, table(rows).item, Ragged.of(lists))
    expected = [code >= 0 and code in mine for row, mine in zip(rows, lists, strict=True) for code in row]
    assert found.tolist() == expected


def test_ragged_joins_arrays() -> None:
    joined = ragged([codes(1, 2), codes(), codes(3)])
    assert [joined[n].tolist() for n in range(3)] == [[1, 2], [], [3]]
    assert ragged([]).offsets.tolist() == [0]


def test_gather_fills_what_is_missing() -> None:
    assert gather(codes(4, 5), codes(1, 2, -1), -9).tolist() == [5, -9, -9]
    assert gather(np.ones((2, 3)), codes(0, 7), 0).tolist() == [[1, 1, 1], [0, 0, 0]]
    assert gather(codes(), codes(0), 3).tolist() == [3]
