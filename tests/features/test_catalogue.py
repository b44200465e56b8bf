from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.features.catalogue import ATTRIBUTES_A_USER, CATEGORIES_AN_ITEM, LiveCatalogue, LiveUsers
from upnext.storage.log import ITEM_SCHEMA, USER_SCHEMA

BOOKKEEPING = {"code": pl.Int32(), "deleted": pl.Boolean(), "revision": pl.Int64()}


def items(*rows: dict[str, Any]) -> pl.DataFrame:
    """As ``Log.read_items`` gives them: every column, null where nothing is known."""
    whole = [{"item_id": f"i{row['code']}", "deleted": False, "revision": 1, **row} for row in rows]
    return pl.DataFrame(whole, schema={**ITEM_SCHEMA, **BOOKKEEPING})


def users(*rows: dict[str, Any]) -> pl.DataFrame:
    whole = [{"user_id": f"u{row['code']}", "deleted": False, "revision": 1, **row} for row in rows]
    for row in whole:
        if isinstance(row.get("attributes"), dict):
            row["attributes"] = json.dumps(row["attributes"])
    return pl.DataFrame(whole, schema={**USER_SCHEMA, **BOOKKEEPING})


def names(live: LiveCatalogue, item: int) -> list[str]:
    return live.categories.decode([code for code in live().category[item] if code >= 0])


def attributes(live: LiveUsers, user: int) -> list[str]:
    return live.attributes.decode([code for code in live().attribute[user] if code >= 0])


def test_an_item_as_columns() -> None:
    live = LiveCatalogue()
    assert len(live()) == 0
    changed = live.apply(
        items(
            {"code": 0, "title": "Red fox", "author": "ann", "categories": ["news", "sport"], "duration": 12.5,
             "published_at": 77, "available": True},
            {"code": 1},
        )
    )  # fmt: skip
    assert changed.tolist() == [0, 1]
    now = live()
    assert len(now) == 2
    assert list(now.title) == ["Red fox", ""]
    assert now.published_at.tolist() == [77, 0]
    assert now.duration[0] == 12.5
    assert np.isnan(now.duration[1])
    assert live.authors.decode([now.author[0]]) == ["ann"]
    assert now.author[1] == -1
    assert names(live, 0) == ["news", "sport"]
    assert names(live, 1) == []
    assert now.available.tolist() == [True, True]
    assert now.vector is None
    assert live.ids.decode([0, 1]) == ["i0", "i1"]


def test_it_grows_one_item_at_a_time_and_old_views_stay_as_long_as_they_were() -> None:
    live = LiveCatalogue()
    views = []
    for code in range(100):
        live.apply(items({"code": code, "published_at": code + 1, "author": f"a{code % 7}"}))
        views.append(live())
    for size, view in enumerate(views, start=1):
        assert len(view) == size
        assert view.published_at.tolist() == list(range(1, size + 1))
    assert live.authors.decode(live().author) == [f"a{code % 7}" for code in range(100)]


def test_a_change_touches_its_item_and_nothing_else() -> None:
    live = LiveCatalogue()
    live.apply(items(*({"code": n, "title": f"t{n}", "duration": 10.0, "author": "ann"} for n in range(3))))
    changed = live.apply(items({"code": 1, "title": "new", "author": "bob", "available": False}))
    assert changed.tolist() == [1]
    now = live()
    assert list(now.title) == ["t0", "new", "t2"]
    assert live.authors.decode(now.author) == ["ann", "bob", "ann"]
    assert np.isnan(now.duration).tolist() == [False, True, False]  # null sets it to unknown
    assert now.available.tolist() == [True, False, True]
    assert len(live.apply(items())) == 0


def test_rows_may_come_in_any_order_but_no_code_before_its_predecessors() -> None:
    live = LiveCatalogue()
    live.apply(items({"code": 1}, {"code": 0}))
    assert live.ids.decode([0, 1]) == ["i0", "i1"]
    with pytest.raises(ValueError, match=r"item code 3 \('i3'\) arrived before code 2"):
        live.apply(items({"code": 3}))


def test_only_the_first_categories_are_kept_the_main_one_first() -> None:
    live = LiveCatalogue()
    many = [f"c{n}" for n in range(CATEGORIES_AN_ITEM + 4)]
    live.apply(items({"code": 0, "categories": many}, {"code": 1, "categories": []}, {"code": 2, "categories": ["c3"]}))
    assert names(live, 0) == many[:CATEGORIES_AN_ITEM]
    assert names(live, 1) == []
    assert names(live, 2) == ["c3"]
    assert live().category.shape == (3, CATEGORIES_AN_ITEM)
    live.apply(items({"code": 0, "categories": ["c5"]}))
    assert names(live, 0) == ["c5"]


def test_category_names_that_nobody_has_match_nothing() -> None:
    live = LiveCatalogue()
    live.apply(items({"code": 0, "categories": ["news", "sport"]}))
    assert live.category_codes(["sport", "ballet"]).tolist() == [live.categories.code("sport")]
    assert len(live.category_codes([])) == 0


def test_what_is_deleted_is_not_available_until_it_returns() -> None:
    live = LiveCatalogue()
    live.apply(items({"code": 0}, {"code": 1}))
    live.apply(items({"code": 1, "deleted": True, "available": True}))
    assert live().available.tolist() == [True, False]
    assert live.deleted == {1}
    live.apply(items({"code": 1}))
    assert live().available.tolist() == [True, True]
    assert live.deleted == set()


def test_vectors_may_come_late_and_be_missing() -> None:
    live = LiveCatalogue()
    live.apply(items({"code": 0}, {"code": 1}))
    live.apply(items({"code": 1, "vector": [1.0, 2.0]}))
    live.apply(items(*({"code": n} for n in range(2, 9)), {"code": 9, "vector": [3.0, 4.0]}))
    vector = live().vector
    assert vector is not None
    assert vector.shape == (10, 2)
    assert vector[1].tolist() == [1, 2]
    assert vector[9].tolist() == [3, 4]
    assert np.isnan(vector[[0, *range(2, 9)]]).all()


def test_a_vector_that_was_taken_away_is_unknown_again() -> None:
    live = LiveCatalogue()
    live.apply(items({"code": 0, "vector": [1.0, 2.0]}, {"code": 1, "vector": [3.0, 4.0]}))
    live.apply(items({"code": 0, "title": "changed"}))
    vector = live().vector
    assert vector is not None
    assert np.isnan(vector[0]).all()
    assert vector[1].tolist() == [3, 4]


texts = st.none() | st.sampled_from(["ann", "bob", "", "ä"])
changes = st.fixed_dictionaries(
    {
        "code": st.integers(0, 5),
        "title": texts,
        "author": texts,
        "categories": st.none() | st.lists(st.sampled_from("abc"), max_size=3, unique=True),
        "duration": st.none() | st.floats(0, 100, width=32),
        "available": st.none() | st.booleans(),
        "deleted": st.booleans(),
        "vector": st.none() | st.lists(st.floats(-1, 1, width=16), min_size=2, max_size=2),
    }
)


@settings(max_examples=30)
@given(st.lists(changes, max_size=12))
def test_the_last_change_of_each_item_is_what_counts(log: list[dict[str, Any]]) -> None:
    live, last = LiveCatalogue(), {code: {"code": code} for code in range(6)}
    live.apply(items(*last.values()))
    for change in log:
        live.apply(items(change))
        last[change["code"]] = change
    now = live()
    for code, row in last.items():
        assert now.title[code] == (row.get("title") or "")
        assert (
            live.authors.names[now.author[code]] == row["author"]
            if row.get("author") is not None
            else (now.author[code] == -1)
        )
        assert names(live, code) == (row.get("categories") or [])
        assert now.available[code] == (row.get("available") is not False and not row.get("deleted", False))
        if now.vector is not None:
            expected = row.get("vector") or [np.nan, np.nan]
            np.testing.assert_array_equal(now.vector[code], np.array(expected, np.float32))


def test_users_attributes_are_pairs_of_name_and_value() -> None:
    live, catalogue = LiveUsers(), LiveCatalogue()
    live.apply(users({"code": 0, "attributes": {"country": "fr", "plan": None, "age": 33}}, {"code": 1}), catalogue)
    assert attributes(live, 0) == ["country=fr", "age=33"]
    assert attributes(live, 1) == []
    live.apply(users({"code": 0, "attributes": {"country": "de"}}), catalogue)
    assert attributes(live, 0) == ["country=de"]
    live.apply(users({"code": 0, "attributes": {"country": "de"}, "deleted": True}), catalogue)
    assert attributes(live, 0) == []
    assert live.ids.decode([0, 1]) == ["u0", "u1"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (99, "99"), (100, "~2^6.5"), (101, "~2^6.5"), (1024, "~2^10"), (-1024, "~2^10"), (2.5, "2.5"), (True, "True"),
        (10**30, "~2^99.5"), (10**400, "~2^1328.5"), (float("inf"), "inf"), (float("nan"), "nan"), ([1, 2], "[1, 2]"),
    ],
)  # fmt: skip
def test_large_numbers_share_a_token_with_their_neighbours(value: object, shown: str) -> None:
    live = LiveUsers()
    live.apply(users({"code": 0, "attributes": {"x": value}}), LiveCatalogue())
    assert attributes(live, 0) == [f"x={shown}"]


def test_only_so_many_attributes_are_kept() -> None:
    live = LiveUsers()
    live.apply(users({"code": 0, "attributes": {f"a{n}": n for n in range(ATTRIBUTES_A_USER + 9)}}), LiveCatalogue())
    assert len(attributes(live, 0)) == ATTRIBUTES_A_USER


def blocked(live: LiveUsers, catalogue: LiveCatalogue, user: int) -> Sequence[str]:
    return catalogue.authors.decode(live().blocked_authors.get(user, np.empty(0, np.int32)))


def test_blocked_authors_have_the_codes_of_the_catalogue() -> None:
    live, catalogue = LiveUsers(), LiveCatalogue()
    catalogue.apply(items({"code": 0, "author": "ann"}))
    live.apply(users({"code": 0, "blocked_authors": ["unheard of", "ann"]}, {"code": 1}), catalogue)
    assert blocked(live, catalogue, 0) == ["unheard of", "ann"]
    assert blocked(live, catalogue, 1) == []
    catalogue.apply(items({"code": 1, "author": "unheard of"}))
    assert catalogue().author[1] in live().blocked_authors[0]
    live.apply(users({"code": 0, "blocked_authors": ["bob"]}), catalogue)
    assert blocked(live, catalogue, 0) == ["bob"]
    live.apply(users({"code": 0, "blocked_authors": []}), catalogue)
    assert blocked(live, catalogue, 0) == []
    live.apply(users({"code": 1, "blocked_authors": ["bob"], "deleted": True}), catalogue)
    assert blocked(live, catalogue, 1) == []


def test_users_grow_like_items() -> None:
    live, catalogue = LiveUsers(), LiveCatalogue()
    for code in range(50):
        live.apply(users({"code": code, "attributes": {"n": code}}), catalogue)
        assert len(live()) == code + 1
    assert [attributes(live, code) for code in range(50)] == [[f"n={code}"] for code in range(50)]


def test_users_taken_over_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, Any]] = [
        {"code": 6, "attributes": {"city": "Rome"}, "blocked_authors": ["ann"]},
        *({"code": code} for code in (3, 0, 5)),
        {"code": 1, "attributes": {"city": "Bonn"}},
        {"code": 4, "blocked_authors": ["bob"]},
        {"code": 2, "deleted": True},
    ]
    whole, parts, catalogue = LiveUsers(), LiveUsers(), LiveCatalogue()
    whole.apply(users(*rows), catalogue)
    monkeypatch.setattr("upnext.features.catalogue.USERS_AT_ONCE", 2)
    parts.apply(users(*rows), catalogue)
    assert list(parts.ids.names) == list(whole.ids.names) == [f"u{code}" for code in range(7)]
    for user in range(7):
        assert attributes(parts, user) == attributes(whole, user)
        assert blocked(parts, catalogue, user) == blocked(whole, catalogue, user)
    assert attributes(parts, 6) == ["city=Rome"]
    assert blocked(parts, catalogue, 4) == ["bob"]
