from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from upnext.candidates.trending import Trending
from upnext.stages import Source
from upnext.testing.source_contract import SourceContract, requests_of, scores_of
from upnext.types import Float32, Requests

ITEMS = 30
MINUTE = 60_000


def popularity(now: int) -> Float32:
    """Item (now in minutes) mod ITEMS is on top; item 29 nobody ever wanted."""
    counts = (np.arange(ITEMS, 0, -1) + now // MINUTE) % ITEMS
    return np.where(np.arange(ITEMS) == ITEMS - 1, 0, counts).astype(np.float32)


class TestTrending(SourceContract):
    items = ITEMS

    def make_source(self) -> Source:
        return Trending(popularity)

    def make_requests(self) -> Requests:
        now = np.array([5, 0, 5, 9, 0], np.int64) * MINUTE + 17
        return replace(requests_of([[], [1], [2, 3], [], []]), now=now)


def test_each_request_sees_its_own_minute() -> None:
    found = Trending(popularity)(TestTrending().make_requests(), 3)
    expected = [np.argsort(-popularity(minute * MINUTE), kind="stable")[:3] for minute in (5, 0, 5, 9, 0)]
    np.testing.assert_array_equal(found.item.reshape(5, 3), expected)
    np.testing.assert_allclose(scores_of(found)[:3], np.log1p([29, 28, 27]))


def test_what_nobody_wants_is_not_trending() -> None:
    found = Trending(popularity)(requests_of([[]]), ITEMS)
    assert (popularity(0)[found.item] > 0).all()
    assert len(found) == np.count_nonzero(popularity(0))
    assert len(Trending(lambda now: np.zeros(0, np.float32))(requests_of([[]]), 5)) == 0


def test_asks_once_a_minute() -> None:
    asked: list[int] = []

    def counted(now: int) -> Float32:
        asked.append(now)
        return popularity(now)

    source = Trending(counted)
    for k in (5, 5, 3):
        source(requests_of([[]], now=7 * MINUTE + 123), k)
        source(requests_of([[]], now=7 * MINUTE + 59_999), k)
    assert asked == [7 * MINUTE]
    assert len(source(requests_of([[]], now=7 * MINUTE), 8)) == 8, "a longer list is made when it is asked for"
    source(requests_of([[]], now=8 * MINUTE), 5)
    assert asked == [7 * MINUTE, 7 * MINUTE, 8 * MINUTE]


def test_whoever_keeps_up_makes_the_list_of_the_minute() -> None:
    asked: list[int] = []

    def counted(now: int) -> Float32:
        asked.append(now)
        return popularity(now)

    source = Trending(counted)
    first = source(requests_of([[]], now=7 * MINUTE), 5)
    source.keep_up(7 * MINUTE)
    np.testing.assert_array_equal(source(requests_of([[]], now=8 * MINUTE), 5).item, first.item)
    source.keep_up(8 * MINUTE)
    assert asked == [7 * MINUTE, 8 * MINUTE]
    assert source(requests_of([[]], now=8 * MINUTE), 5).item[0] == np.argmax(popularity(8 * MINUTE))
    assert asked == [7 * MINUTE, 8 * MINUTE]


@given(
    st.lists(st.sampled_from([0.0, -1.0, 0.5, 3.0, 3.0000002, 1e6]) | st.floats(0, 9, width=32), max_size=50),
    st.integers(1, 9),
)
def test_the_list_is_the_head_of_all_sorted(counts: list[float], k: int) -> None:
    count = np.array(counts, np.float32)
    found = Trending(lambda now: count)(requests_of([[]]), k)
    score = np.log1p(np.maximum(count, 0)).astype(np.float32)
    order = np.argsort(-score, kind="stable")
    assert found.item.tolist() == order[score[order] > 0][:k].tolist()
