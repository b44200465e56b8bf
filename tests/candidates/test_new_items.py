from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from upnext.candidates.new_items import NewItems, Owed, _Window
from upnext.config import NewItemsConfig
from upnext.stages import Source
from upnext.testing.source_contract import SourceContract, requests_of, scores_of
from upnext.types import Candidates, Float32, Float64, Int32, Int64, Requests

from .catalogues import catalogue_of

ITEMS = 50
DAY = 86_400_000
NOW = 1000 * DAY
WEIGHT, LEAST = np.ones(1, np.float32), np.full(1, -np.inf, np.float32)
CONFIG = NewItemsConfig(max_age_days=7)


def published() -> Int64:
    """Every 12 hours one, in no order; item 0 at an unknown time; the last ones only after NOW."""
    at = NOW - 20 * DAY + np.random.default_rng(2).permutation(ITEMS).astype(np.int64) * DAY // 2
    at[0] = 0
    return at


class TestNewItems(SourceContract):
    items = ITEMS

    def make_source(self) -> Source:
        catalogue = catalogue_of(published(), category=(np.arange(ITEMS) % 4).tolist())
        return NewItems(CONFIG, lambda: catalogue, WEIGHT, LEAST, lambda items: (items % 3).astype(np.float32))

    def make_requests(self) -> Requests:
        now = NOW - np.array([0, 3, 100, 19, 2], np.int64) * DAY
        return replace(requests_of([[], [1, 5, 9], [2], [], [3, 4]], now=NOW), now=now)


def every_fifth(items: Int32, now: Int64) -> Float64:
    return np.where(items % 5 == 0, items / 10, np.nan)


class TestNewItemsThatAreOwed(TestNewItems):
    def make_source(self) -> Source:
        catalogue = catalogue_of(published(), category=(np.arange(ITEMS) % 4).tolist())
        owed = Owed(lambda now: np.arange(0, ITEMS + 9, 3, dtype=np.int32), every_fifth, Evens())
        return NewItems(CONFIG, lambda: catalogue, WEIGHT, LEAST, None, owed)


class Evens:
    """Everybody likes even items."""

    name = "evens"

    def score(self, requests: Requests, candidates: Candidates) -> Float32:
        assert candidates.batch == len(requests)
        return (candidates.item % 2 == 0).astype(np.float32)


def test_owed_items_come_first_in_half_of_the_places() -> None:
    catalogue = catalogue_of(np.full(20, NOW - DAY), category=[3] * 19 + [1])
    owed = Owed(lambda now: np.arange(10, 20, dtype=np.int32), lambda items, now: np.zeros(len(items)), Evens())
    source = NewItems(CONFIG, lambda: catalogue, WEIGHT, LEAST, None, owed)
    found = source(requests_of([[], [19]], now=NOW), 8)
    assert found.of_request(0).item.tolist() == [10, 12, 14, 16, 0, 1, 2, 3]
    assert found.of_request(1).item.tolist() == [10, 12, 14, 16, 19, 0, 1, 2]
    pressed = Owed(owed.items, lambda items, now: np.where(items == 13, 9.0, np.where(items == 10, np.nan, 0)), Evens())
    source = NewItems(CONFIG, lambda: catalogue, WEIGHT, LEAST, None, pressed)
    assert source(requests_of([[]], now=NOW), 8).item.tolist() == [13, 12, 14, 16, 0, 1, 2, 3]


def test_an_owed_item_of_any_age_is_offered() -> None:
    catalogue = catalogue_of(np.array([NOW - DAY, NOW - 100 * DAY, 0]))
    owed = Owed(lambda now: np.array([1, 2], np.int32), lambda items, now: np.zeros(len(items)))
    source = NewItems(CONFIG, lambda: catalogue, WEIGHT, LEAST, None, owed)
    assert source(requests_of([[]], now=NOW), 4).item.tolist() == [1, 2, 0]


@given(st.integers(NOW - 30 * DAY, NOW + 30 * DAY))
def test_never_what_is_not_out_yet_or_old(now: int) -> None:
    catalogue = catalogue_of(published())
    found = NewItems(CONFIG, lambda: catalogue, WEIGHT, LEAST)(requests_of([[]], now=now), ITEMS)
    age = now - published()
    expected = np.flatnonzero((age >= 0) & (age < 7 * DAY))
    np.testing.assert_array_equal(found.item, expected[np.argsort(age[expected], kind="stable")])


def test_what_few_have_seen_comes_first() -> None:
    catalogue = catalogue_of(np.full(4, NOW - DAY))
    shown = np.array([9, 0, 2, 100], np.float32)
    source = NewItems(CONFIG, lambda: catalogue, WEIGHT, LEAST, lambda items: shown[items])
    assert source(requests_of([[]], now=NOW), 3).item.tolist() == [1, 2, 0]


def test_what_fits_the_history_comes_first() -> None:
    at = np.full(8, NOW - DAY)
    at[:4] = NOW - 100 * DAY
    catalogue = catalogue_of(at, category=[0, 1, 1, -1, 0, 1, 2, -1])
    found = NewItems(CONFIG, lambda: catalogue, WEIGHT, LEAST)(requests_of([[0, 1, 2], [3]], now=NOW), 4)
    assert found.of_request(0).item.tolist() == [5, 4, 6, 7]
    assert found.of_request(1).item.tolist() == [4, 5, 6, 7]
    np.testing.assert_allclose(scores_of(found)[:3] / scores_of(found)[3], [1 + 2 / 3, 1 + 1 / 3, 1], rtol=1e-5)


def test_sees_an_item_as_soon_as_the_catalogue_has_it() -> None:
    catalogues = [catalogue_of(np.array([NOW - DAY]))]
    source = NewItems(CONFIG, lambda: catalogues[-1], WEIGHT, LEAST)
    assert source(requests_of([[]], now=NOW), 5).item.tolist() == [0]
    catalogues.append(catalogue_of(np.array([NOW - DAY, NOW])))
    assert source(requests_of([[]], now=NOW), 5).item.tolist() == [1, 0]
    catalogues.append(catalogue_of(np.array([NOW - DAY, NOW - 50 * DAY])))
    assert source(requests_of([[]], now=NOW), 5).item.tolist() == [0]


def test_an_empty_catalogue_has_nothing_new() -> None:
    catalogue = catalogue_of(np.empty(0, np.int64))
    assert len(NewItems(CONFIG, lambda: catalogue, WEIGHT, LEAST)(requests_of([[], [1]], now=NOW), 5)) == 0


def test_whoever_keeps_up_looks_through_the_catalogue_and_requests_see_what_is_new() -> None:
    catalogues = [catalogue_of(np.array([NOW - DAY, NOW - 2 * DAY]))]
    source = NewItems(CONFIG, lambda: catalogues[-1], WEIGHT, LEAST)
    assert source(requests_of([[]], now=NOW), 5).item.tolist() == [0, 1]
    source.keep_up(NOW)
    moved = [NOW - DAY, NOW + DAY]  # item 1 is put off, and then there is another one
    catalogues.append(catalogue_of(np.array([*moved, NOW - DAY // 2, NOW - 9 * DAY])))
    assert source(requests_of([[]], now=NOW), 5).item.tolist()[:2] == [2, 0]
    source.keep_up(NOW)
    assert source(requests_of([[]], now=NOW), 5).item.tolist() == [2, 0]
    catalogues.append(catalogue_of(np.array([*moved, NOW - DAY // 2, NOW - 9 * DAY, NOW])))
    assert source(requests_of([[]], now=NOW), 5).item.tolist() == [4, 2, 0]
    assert source(requests_of([[]], now=NOW + 2 * DAY), 5).item.tolist() == [1, 4, 2, 0]


@given(st.integers(0, 99), st.integers(1, 30), st.integers(1, 40))
def test_a_window_reaches_back_as_far_as_is_asked(seed: int, now: int, fewest: int) -> None:
    published = np.random.default_rng(seed).integers(0, 30, 60).astype(np.int64)
    window = _Window.of(catalogue_of(published), now, 10, fewest)
    new = np.flatnonzero((published > max(now - 10, 0)) & (published <= now))
    inside = window.item[window.at <= now]
    assert set(inside.tolist()) <= set(new.tolist())
    assert len(inside) >= min(fewest, len(new))
    ordered = new[np.argsort(published[new], kind="stable")]
    assert inside.tolist() == ordered[len(ordered) - len(inside) :].tolist()
    assert window.reaches(now, 10, min(fewest, len(new)))
