from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import logs
from upnext.types import (
    EVENT_COLUMNS,
    Candidates,
    Catalogue,
    Events,
    History,
    Ragged,
    Requests,
    Users,
    ragged_rows,
)

lists = st.lists(st.lists(st.integers(0, 99), max_size=5), max_size=5)


def table(rows: list[list[int]]) -> Candidates:
    ragged = Ragged.of(rows)
    size = len(ragged.item)
    made = Candidates(ragged.item, ragged.offsets, {"score": np.arange(size, dtype=np.float32)})
    return made.with_features(np.arange(2.0 * size, dtype=np.float32).reshape(size, 2), ("a", "b"))


@given(lists)
def test_ragged_holds_the_lists_it_was_made_of(rows: list[list[int]]) -> None:
    ragged = Ragged.of(rows)
    assert [ragged[n].tolist() for n in range(len(rows))] == rows
    assert ragged.item.dtype == np.int32
    assert ragged_rows(ragged.offsets).tolist() == [n for n, row in enumerate(rows) for _ in row]


def test_an_empty_ragged_has_an_empty_list_a_request() -> None:
    assert [Ragged.empty(3)[n].tolist() for n in range(3)] == [[], [], []]
    assert len(Ragged.empty(0).offsets) == 1


@given(lists, st.data())
def test_keep_is_the_rows_where_the_mask_is_true(rows: list[list[int]], data: st.DataObject) -> None:
    made = table(rows)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(made), max_size=len(made))), np.bool_)
    kept = made.keep(mask)
    for request in range(made.batch):
        mine, whole = kept.of_request(request), made.of_request(request)
        part = mask[made.offsets[request] : made.offsets[request + 1]]
        np.testing.assert_array_equal(mine.item, whole.item[part])
        np.testing.assert_array_equal(mine["score"], whole["score"][part])
        assert mine.features is not None
        assert whole.features is not None
        np.testing.assert_array_equal(mine.features, whole.features[part])
    assert kept.batch == made.batch
    assert kept.feature_names == ("a", "b")
    np.testing.assert_array_equal(kept.request, made.request[mask])


def test_take_puts_rows_into_a_new_order() -> None:
    taken = table([[5, 6, 7], [8]]).take(np.array([2, 0, 3]), np.array([0, 2, 3]))
    assert taken.item.tolist() == [7, 5, 8]
    assert taken["score"].tolist() == [2, 0, 3]
    assert taken.features is not None
    assert taken.features[:, 0].tolist() == [4, 0, 6]
    assert taken.of_request(1).item.tolist() == [8]


def test_columns_are_added_never_changed() -> None:
    made = table([[1, 2]])
    more = made.with_columns({"p_click": np.zeros(2)})
    assert "p_click" in more
    assert "p_click" not in made
    with pytest.raises(ValueError, match="column 'score' exists already"):
        made.with_columns({"score": np.zeros(2)})
    with pytest.raises(ValueError, match="column 'p_click' has 3 rows, the table has 2"):
        made.with_columns({"p_click": np.zeros(3)})
    with pytest.raises(ValueError, match=r"features are \(2, 3\), expected \(2, 2\)"):
        made.with_features(np.zeros((2, 3), np.float32), ("a", "b"))
    with pytest.raises(ValueError, match="offsets end at 3, but there are 2 items"):
        Candidates(np.zeros(2, np.int32), np.array([0, 3]))


@pytest.mark.parametrize(
    "value",
    [
        Ragged.empty(1),
        History.empty(1, 2),
        table([[1]]),
        Events.empty(),
        Users(np.zeros((0, 1), np.int32)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_flows_cannot_be_changed(value: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)


def test_the_columns_of_a_table_cannot_be_replaced() -> None:
    made = table([[1]]).with_columns({"x": np.zeros(1)})
    with pytest.raises(TypeError):
        made.columns["x"] = np.ones(1)  # type: ignore[index]


def test_an_empty_history_has_no_events() -> None:
    history = History.empty(2, 3)
    assert len(history) == 2
    assert (history.item == -1).all()
    assert (history.event == -1).all()
    assert np.isnan(history.value).all()
    assert len(history.take(slice(1, 2))) == 1


def test_one_request_of_a_batch_keeps_all_that_belongs_to_it() -> None:
    histories = History.empty(3, 2)
    histories.item[:, 1] = [7, 8, 9]
    every = Requests(
        np.array([4, -1, 6], np.int32), np.array([10, 11, 12]), np.array([0, 1, 2], np.int16), 5,
        histories, histories, Ragged.of([[1], [], [2, 3]]), Ragged.of([[], [9], []]),
        diversity=0.5, explore=0.25, value_weights={"click": 2.0}, categories=np.array([3], np.int32),
        allow_watched=True,
    )  # fmt: skip
    one = every.take(2)
    assert (len(one), one.user[0], one.now[0], one.surface[0], one.k) == (1, 6, 12, 2, 5)
    assert one.acted.item.tolist() == [[-1, 9]]
    assert one.exclude[0].tolist() == [2, 3]
    assert every.take(1).anchors[0].tolist() == [9]
    assert (one.diversity, one.explore, one.value_weights, one.allow_watched) == (0.5, 0.25, {"click": 2.0}, True)
    assert one.categories is every.categories


def test_events_are_taken_and_joined_by_rows() -> None:
    events = logs.random_events(0, 30)
    assert [field.name for field in fields(Events)] == list(EVENT_COLUMNS)
    parts = [events.take(slice(0, 7)), Events.empty(), events.take(np.arange(7, 30))]
    joined = Events.concat(parts)
    for name, dtype in EVENT_COLUMNS.items():
        np.testing.assert_array_equal(getattr(joined, name), getattr(events, name))
        assert getattr(Events.empty(), name).dtype == dtype
    masked = events.take(events.user == 2)
    assert len(masked) == (events.user == 2).sum()
    assert (masked.user == 2).all()


def test_sizes() -> None:
    catalogue = logs.catalogue()()
    assert isinstance(catalogue, Catalogue)
    assert len(catalogue) == logs.ITEMS
    assert len(Users(np.zeros((5, 2), np.int32))) == 5
    assert len(Events.empty()) == 0


@given(st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=4), st.booleans())
def test_rows_chosen_again_and_again_are_those_of_columns_chosen_at_once(choices: list[list[int]], read: bool) -> None:
    chosen = table([[10, 11, 12, 13, 14, 15]])
    expected = np.arange(6, dtype=np.float32)
    for choice in choices:
        rows = np.array([row for row in choice if row < len(chosen)], np.int64)
        chosen, expected = chosen.take(rows, np.array([0, len(rows)])), expected[rows]
        if read:
            np.testing.assert_array_equal(chosen["score"], expected)
    np.testing.assert_array_equal(chosen["score"], expected)
    np.testing.assert_array_equal(chosen.item, 10 + expected)
    assert list(chosen.columns) == ["score"]


def test_columns_in_place_of_others_leave_the_first_table_as_it_was() -> None:
    made = table([[1, 2]])
    other = made.in_place_of({"score": np.array([7.0, 8.0])})
    assert (made["score"].tolist(), other["score"].tolist()) == ([0, 1], [7, 8])
