"""A log that somebody numbered is told from one in which things happened."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from upnext.candidates.because_you_watched import IN_ORDER, Reading
from upnext.training.interactions import Interactions
from upnext.training.order import DEVIATIONS, drift, in_order

USERS, ITEMS, SIZE = 300, 80, 8_000
SETS = Reading(1.0, 0)


def log(seed: int, trend: float = 0.0) -> Interactions:
    """Some items are more popular than others; with a trend, half of them rise and half fall as the log goes on."""
    random = np.random.default_rng(seed)
    item = (ITEMS * random.random(SIZE) ** 2).astype(np.int32)
    share = np.arange(SIZE) / SIZE
    keep = random.random(SIZE) < 1 - trend * np.where(item % 2 == 0, share, 1 - share)
    user = random.integers(0, USERS, SIZE).astype(np.int32)
    return Interactions(user[keep], item[keep], np.ones(keep.sum(), np.float32), np.arange(keep.sum()), USERS, ITEMS)


@given(st.integers(0, 10_000))
def test_by_chance_items_fare_alike(seed: int) -> None:
    assert abs(drift(log(seed))) <= DEVIATIONS + 1


@given(st.integers(0, 10_000))
def test_items_that_rise_and_fall_are_an_order(seed: int) -> None:
    assert drift(log(seed, trend=0.5)) > DEVIATIONS


def test_an_order_is_missing_only_where_neither_histories_nor_items_have_one() -> None:
    sets, times = log(0), log(0, trend=0.5)
    assert not in_order(sets, SETS)
    assert in_order(sets, IN_ORDER)
    assert in_order(sets, None)
    assert in_order(times, SETS)


def test_repeats_do_not_count() -> None:
    """Some who come back to one item again and again on one evening make no trend."""
    once = log(1)
    again = np.concatenate([np.arange(len(once)), np.repeat(np.arange(len(once) - 10, len(once)), 100)])
    repeated = Interactions(once.user[again], once.item[again], once.weight[again], np.arange(len(again)), USERS, ITEMS)
    assert abs(drift(repeated)) <= DEVIATIONS


def test_too_little_to_say() -> None:
    few = log(0)
    few = Interactions(few.user[:50], few.item[:50], few.weight[:50], few.at[:50], USERS, ITEMS)
    assert drift(few) == 0
    assert not in_order(few, SETS)
