from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from upnext.candidates.watch_again import WatchAgain
from upnext.config import WatchAgainConfig
from upnext.stages import Source
from upnext.testing.source_contract import SourceContract, requests_of, scores_of
from upnext.types import Requests

from .catalogues import catalogue_of

ITEMS = 30
CLICK, WATCH, HIDE = 0, 1, 2
WEIGHT, LEAST = np.array([1, 1, -1], np.float32), np.array([-np.inf, 10, -np.inf], np.float32)
HOUR = 3_600_000
SHORT, UNKNOWN = 20, 21  # the other items last 1,000 seconds


def source() -> WatchAgain:
    duration = np.full(ITEMS, 1000.0)
    duration[SHORT], duration[UNKNOWN] = 100, np.nan
    catalogue = catalogue_of(np.zeros(ITEMS, np.int64), duration.tolist())
    return WatchAgain(WatchAgainConfig(), lambda: catalogue, [WATCH], WEIGHT, LEAST)


def history(*events: tuple[int, int, float, float]) -> Requests:
    """One request with (item, event, seconds, hours ago) events."""
    requests = requests_of([[event[0] for event in events]], now=1000 * HOUR)
    slots = slice(16 - len(events), 16)
    requests.acted.event[0, slots] = [event[1] for event in events]
    requests.acted.value[0, slots] = [event[2] for event in events]
    requests.acted.at[0, slots] = [1000 * HOUR - int(event[3] * HOUR) for event in events]
    return requests


class TestWatchAgain(SourceContract):
    items = ITEMS

    def make_source(self) -> Source:
        return source()

    def make_requests(self) -> Requests:
        requests = requests_of([[3, 4, 5], [], [6, 7, 6, 8, 6, 8, 8], [9], [1, 2, SHORT]], event=WATCH)
        acted = requests.acted
        value = np.where(acted.item >= 0, 40 * (1 + acted.item % 5), np.nan).astype(np.float32)
        return replace(requests, acted=replace(acted, value=value, at=acted.at * 100))


def test_continues_what_is_unfinished_newest_first() -> None:
    found = source()(
        history(
            (1, WATCH, 400, 9), (2, WATCH, 950, 8), (SHORT, WATCH, 50, 7), (UNKNOWN, WATCH, 50, 6),
            (3, WATCH, 5, 5), (4, WATCH, 300, 4), (5, CLICK, np.nan, 3),
        ),
        10,
    )  # fmt: skip
    assert found.item.tolist() == [4, 1]  # 2 is finished, 20 short, 21 of unknown length, 3 was left at once
    assert (scores_of(found) > 1).all()


def test_watches_of_several_evenings_add_up() -> None:
    assert source()(history((1, WATCH, 500, 9), (1, WATCH, 450, 1)), 10).item.tolist() == []
    assert source()(history((1, WATCH, 500, 9), (1, WATCH, 350, 1)), 10).item.tolist() == [1]


def test_offers_again_what_is_returned_to_in_separate_sittings() -> None:
    often = [(7, CLICK, np.nan, hours) for hours in (30, 20, 10)]
    in_one_go = [(8, CLICK, np.nan, hours) for hours in (5.0, 4.9, 4.8)]
    more_often = [(9, CLICK, np.nan, hours) for hours in (4, 3, 2, 1)]
    found = source()(history(*often, *in_one_go, *more_often), 10)
    assert found.item.tolist() == [9, 7]
    np.testing.assert_allclose(scores_of(found), [0.75, 2 / 3], rtol=1e-6)


def test_nothing_that_was_hidden() -> None:
    events = [(1, WATCH, 400.0, 9.0), (2, WATCH, 400.0, 8.0), (1, HIDE, np.nan, 7.0)]
    assert source()(history(*events), 10).item.tolist() == [2]


EVENTS = st.tuples(
    st.integers(1, 4) | st.sampled_from([SHORT, UNKNOWN, ITEMS + 3]),
    st.sampled_from([CLICK, WATCH, WATCH, HIDE]),
    st.sampled_from([5.0, 200.0, 500.0, float("nan")]),
    st.integers(0, 9).map(lambda quarters: quarters / 4),
)


@given(st.lists(EVENTS, max_size=16))
def test_item_by_item(events: list[tuple[int, int, float, float]]) -> None:
    events = sorted(events, key=lambda event: -event[3])
    found = source()(history(*events), 100)
    expected = {}
    for item in {event[0] for event in events if event[0] < ITEMS}:
        mine = [(slot, *event[1:]) for slot, event in enumerate(events, 16 - len(events)) if event[0] == item]
        liked = [row for row in mine if row[1] == CLICK or (row[1] == WATCH and not row[2] < 10)]
        if not liked or any(row[1] == HIDE for row in mine):
            continue
        seconds = [row[2] for row in liked if row[1] == WATCH and not np.isnan(row[2])]
        sittings = 1 + sum(a[3] - b[3] > 0.5 for a, b in pairwise(liked))
        if seconds and sum(seconds) < 900 and item not in (SHORT, UNKNOWN):
            expected[item] = 1 + (liked[-1][0] + 1) / 16
        elif sittings >= 3:
            expected[item] = 1 - 1 / sittings
    assert set(found.item.tolist()) == set(expected)
    np.testing.assert_allclose(scores_of(found), [expected[item] for item in found.item.tolist()], rtol=1e-6)
