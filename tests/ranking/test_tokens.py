from __future__ import annotations

import math
from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from upnext.ranking.tokens import tokens
from upnext.types import History

HOUR = 3_600_000
NOW = 1_700_000_000_000
BIT = np.full(256, -1, np.int32)
BIT[[1, 2, 5]] = [0, 1, 23]  # types 0, 3 and 4 have no bit

Event = tuple[int, int, int, float | None]  # item, type, hours ago, value

events = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(-2, 500), st.none() | st.floats(-5, 5000, width=32)),
    max_size=9,
)


def history(rows: list[list[Event]], size: int = 9) -> History:
    """Right-aligned, as the state gives it."""
    made = History.empty(len(rows), size)
    for row, happened in enumerate(rows):
        for place, (item, event, hours, value) in enumerate(happened, start=size - len(happened)):
            made.item[row, place], made.event[row, place] = item, event
            made.at[row, place] = NOW - hours * HOUR
            made.value[row, place] = np.nan if value is None else value
    return made


@given(st.lists(events, min_size=1, max_size=4), st.integers(1, 10))
def test_a_token_is_a_run_of_events_on_one_item(rows: list[list[Event]], size: int) -> None:
    found = tokens(history(rows), np.full(len(rows), NOW), BIT, size)
    for row, happened in enumerate(rows):
        runs = [list(run) for _, run in groupby(happened, key=lambda event: event[0])][-size:]
        empty = size - len(runs)
        assert (found.item[row, :empty] == -1).all()
        for column in (found.actions, found.value, found.age):
            assert (column[row, :empty] == 0).all()
        for place, run in enumerate(runs, start=empty):
            bits = {int(BIT[event[1]]) for event in run} - {-1}
            assert found.item[row, place] == run[0][0]
            assert found.actions[row, place] == sum(2**bit for bit in bits)
            most = max(0.0, *(event[3] or 0.0 for event in run), 0.0)
            assert math.isclose(found.value[row, place], math.log1p(most), rel_tol=1e-5)
            assert math.isclose(found.age[row, place], math.log1p(max(run[-1][2], 0)), rel_tol=1e-5, abs_tol=1e-6)


def test_the_same_item_again_after_another_is_a_token_of_its_own() -> None:
    found = tokens(history([[(1, 1, 3, None), (2, 1, 2, None), (1, 2, 1, None)]]), np.array([NOW]), BIT, 5)
    assert found.item.tolist() == [[-1, -1, 1, 2, 1]]
    assert found.actions.tolist() == [[0, 0, 1, 1, 2]]


def test_bits_are_exact_in_float32() -> None:
    every = [(7, event, 1, None) for event in (1, 2, 5)]
    found = tokens(history([every]), np.array([NOW]), BIT, 1)
    assert found.actions.dtype == np.float32
    assert int(found.actions[0, 0]) == 2**0 + 2**1 + 2**23


def test_slots_that_no_request_uses_are_cut_off_but_for_one() -> None:
    of = [[(1, 1, 1, 5.0)], [(2, 1, 3, None), (3, 1, 2, None)], []]
    found = tokens(history(of), np.full(3, NOW), BIT, 6)
    assert found.used().item.tolist() == [[-1, 1], [2, 3], [-1, -1]]
    assert found.used().age.tolist() == found.age[:, -2:].tolist()
    assert found.take(np.array([2])).used().item.tolist() == [[-1]]


def test_dtypes_and_taking_requests() -> None:
    found = tokens(history([[(1, 1, 1, 5.0)], [], [(2, 2, 1, None)]]), np.full(3, NOW), BIT, 4)
    assert [column.dtype for column in (found.item, found.actions, found.value, found.age)] == [
        np.int32, np.float32, np.float32, np.float32,
    ]  # fmt: skip
    some = found.take(np.array([2, 0]))
    assert some.item[:, -1].tolist() == [2, 1]
    assert tokens(History.empty(0, 9), np.empty(0, np.int64), BIT, 4).item.shape == (0, 4)
