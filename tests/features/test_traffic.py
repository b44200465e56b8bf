"""The visitors' clock: against counting, by the hours where it knows nothing, and standing still at night."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.features.traffic import BIN_MS, Traffic

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_700_000_000_000 // DAY * DAY


def evenly(begin: int, end: int, n: int) -> np.ndarray:
    return np.linspace(begin, end, n, endpoint=False).astype(np.int64)


def moment(at: int) -> np.ndarray:
    return np.array([at], np.int64)


def test_without_a_record_it_goes_by_the_hours() -> None:
    traffic = Traffic(DAY)
    opened = START + np.array([0, 6, 12]) * HOUR
    np.testing.assert_allclose(traffic.age(opened, np.full(3, START + 12 * HOUR)), [0.5, 0.25, 0])
    traffic.add(moment(START + 11 * HOUR))
    np.testing.assert_allclose(traffic.age(opened, np.full(3, START + 12 * HOUR)), [0.5, 0.25, 0])


def test_even_traffic_goes_by_the_hours_too() -> None:
    traffic = Traffic(DAY)
    now = START + 2 * DAY
    traffic.add(evenly(START, now, 20_000))
    opened = now - np.array([0, 1, 7, 23]) * HOUR
    np.testing.assert_allclose(traffic.age(opened, np.full(4, now)), np.array([0, 1, 7, 23]) / 24, atol=0.002)


def test_it_stands_still_while_nobody_is_there() -> None:
    """Everybody comes between 12 and 20 o'clock; an item that came at 18 has a quarter behind it all night long."""
    traffic = Traffic(DAY)
    for day in range(3):
        traffic.add(evenly(START + day * DAY + 12 * HOUR, START + day * DAY + 20 * HOUR, 4000))
    opened = moment(START + 2 * DAY + 18 * HOUR)
    for hours in (20.5, 24, 30, 35):
        np.testing.assert_allclose(traffic.age(opened, moment(START + 2 * DAY + int(hours * HOUR))), 0.25, atol=0.01)
    traffic.add(evenly(START + 3 * DAY + 12 * HOUR, START + 3 * DAY + 15 * HOUR, 1500))
    np.testing.assert_allclose(traffic.age(opened, moment(START + 3 * DAY + 15 * HOUR)), 0.625, atol=0.01)


def test_after_a_long_pause_yesterday_says_nothing() -> None:
    traffic = Traffic(DAY)
    traffic.add(evenly(START, START + DAY, 5000))
    begin = START + 60 * DAY
    traffic.add(evenly(begin, begin + HOUR // 2, 100))
    now = moment(begin + HOUR // 2)
    np.testing.assert_allclose(traffic.age(moment(begin), now), (now - begin) / DAY)


@settings(max_examples=60)
@given(
    hours=st.lists(st.floats(0, 60), min_size=2, max_size=80).map(sorted),
    parts=st.integers(1, 5),
    since=st.floats(0, 23),
)
def test_it_is_between_0_and_1_never_runs_back_and_does_not_depend_on_how_it_was_told(
    hours: list[float], parts: int, since: float
) -> None:
    at = START + (np.array(hours) * HOUR).astype(np.int64)
    whole, split = Traffic(DAY), Traffic(DAY)
    whole.add(at)
    for part in np.array_split(at, parts):
        split.add(part)
    opened = int(at[-1]) - int(since * HOUR)
    later = evenly(max(opened, int(at[-1])), opened + DAY, 20)
    ages = whole.age(np.full(20, opened), later)
    np.testing.assert_array_equal(ages, split.age(np.full(20, opened), later))
    assert (ages >= 0).all()
    assert (ages <= 1 + 1e-9).all()
    assert (np.diff(ages) >= -1e-9).all()


def test_it_remembers_no_more_than_two_spans() -> None:
    traffic = Traffic(DAY)
    for hour in range(24 * 30):
        traffic.add(moment(START + hour * HOUR))
    assert len(traffic._sums) <= 2 * (DAY // BIN_MS + 1) + 1
