"""Appends that meet are written as one, and each caller still learns what became of its own rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.errors import DataError, StorageError
from upnext.serving.together import MOST_ROWS, Together, joined
from upnext.storage.log import ACCEPTED, DUPLICATE, Appended, EventColumns
from upnext.storage.sqlite import SQLiteLog

NOON = 1_650_000_000_000


def clicks(*event_ids: str, **more: Sequence[object]) -> dict[str, Sequence[object]]:
    size = len(event_ids)
    return {
        "event_id": event_ids, "event_type": ["click"] * size, "user_id": ["u"] * size, "item_id": ["i"] * size,
        "happened_at": [NOON] * size, **more,
    }  # fmt: skip


class Gate:
    """A log whose first write waits until it is let through; it notes how many rows each write had."""

    def __init__(self, path: Path) -> None:
        self.log = SQLiteLog(path)
        self.rows: list[int] = []
        self.entered, self.open = threading.Event(), threading.Event()

    def write(self, columns: EventColumns) -> Appended:
        self.rows.append(len(columns["event_type"]))
        self.entered.set()
        assert self.open.wait(30)
        return self.log.append_events(columns)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "log.db")
    yield gate
    gate.log.close()


def meeting(gate: Gate, first: EventColumns, others: Sequence[EventColumns]) -> list[Future[Appended]]:
    """``others`` are handed in, in their order, while ``first`` is being written."""
    together = Together(gate.write)
    with ThreadPoolExecutor(1 + len(others)) as pool:
        futures = [pool.submit(together, first)]
        assert gate.entered.wait(30)
        for place, columns in enumerate(others, start=1):
            futures.append(pool.submit(together, columns))
            while len(together._waiting) < place:
                pass
        gate.open.set()
    return futures


def test_what_waits_is_written_as_one_in_its_order(gate: Gate) -> None:
    others = [clicks("b", "a"), clicks("c", "b", "d", item_id=["x", "y", "z"]), clicks("c"), clicks("e")]
    appended = meeting(gate, clicks("a"), others)
    assert gate.rows == [1, 7]
    assert [future.result().status.tolist() for future in appended] == [
        [ACCEPTED], [ACCEPTED, DUPLICATE], [ACCEPTED, DUPLICATE, ACCEPTED], [DUPLICATE], [ACCEPTED],
    ]  # fmt: skip
    events = gate.log.read_events()
    assert [gate.log.ids("item")[item] for item in events.item] == ["i", "i", "x", "z", "i"]


def test_rows_that_break_a_rule_fail_alone(gate: Gate) -> None:
    bad = clicks("x", "y", position=[1, -1])
    _, good, refused, last = meeting(gate, clicks("a"), [clicks("b"), bad, clicks("c")])
    with pytest.raises(DataError, match="position"):
        refused.result()
    assert good.result().accepted == last.result().accepted == 1
    assert len(gate.log.read_events()) == 3


def test_a_log_that_fails_fails_for_all_that_it_was_written_for(gate: Gate) -> None:
    first, *others = meeting(gate, clicks("a"), [])
    assert (first.result().accepted, others) == (1, [])
    gate.log.close()
    gate.entered.clear()
    gate.open.clear()
    for future in meeting(gate, clicks("b"), [clicks("c"), clicks("d")]):
        with pytest.raises(StorageError, match="closed"):
            future.result()


def test_a_write_has_an_end(gate: Gate) -> None:
    many = [clicks(*(f"{place}-{n}" for n in range(MOST_ROWS // 2))) for place in range(3)]
    for future, columns in zip(meeting(gate, clicks("a"), many)[1:], many, strict=True):
        assert future.result().accepted == len(columns["event_id"])
    assert gate.rows == [1, 2 * (MOST_ROWS // 2), MOST_ROWS // 2]


def test_many_threads_at_once_lose_nothing(gate: Gate) -> None:
    gate.open.set()
    together = Together(gate.write)
    with ThreadPoolExecutor(16) as pool:
        appended = list(pool.map(lambda n: together(clicks(f"e{n % 150}", f"f{n}")), range(300)))
    assert sum(one.accepted for one in appended) == len(gate.log.read_events()) == 450
    assert all(one.status[1] == ACCEPTED for one in appended)
    assert len(gate.rows) <= 300


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(), min_size=1), min_size=1, max_size=4))
def test_joined_columns_are_the_rows_of_all_parts(rows: list[dict[str, int]]) -> None:
    whole = joined([{name: [value] for name, value in row.items()} for row in rows])
    names = {name for row in rows for name in row}
    assert {name: list(column) for name, column in whole.items()} == {
        name: [row.get(name) for row in rows] for name in names
    }
