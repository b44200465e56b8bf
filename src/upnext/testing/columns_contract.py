"""What every log must do with events that come as plain columns, and with marks: a part of LogContract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest

from upnext.errors import DataError
from upnext.storage.log import ACCEPTED, DUPLICATE, Log
from upnext.testing.logs import NOON, OpensLogs, events
from upnext.types import EVENT_COLUMNS

GOOD: dict[str, Sequence[object]] = {
    "event_type": ["click", "watch", "click"],
    "user_id": ["u", "v", "u"],
    "item_id": ["a", "b", "a"],
    "happened_at": [NOON, NOON + 1, NOON],
}


class ColumnsContract(OpensLogs):
    def test_columns_and_frames_are_the_same_to_a_log(self, tmp_path: Path) -> None:
        columns: dict[str, Sequence[object]] = {
            **GOOD,
            "received_at": [NOON + 5, None, NOON + 7],
            "value": [None, 12.5, None],
            "position": [3, None, 3],
            "surface": [None, "home", ""],
            "recommendation_id": ["r", None, "r"],
            "as_of": [None, 4, 9],
            "event_id": [None, "e", None],
        }
        folders = tmp_path / "frame", tmp_path / "columns"
        for folder in folders:
            folder.mkdir()
        logs = [self.open(folder) for folder in folders]
        for appended in (logs[0].append_events(pl.DataFrame(columns)), logs[1].append_events(columns)):
            assert appended.status.tolist() == [ACCEPTED, ACCEPTED, DUPLICATE]
        framed, plain = (log.read_events() for log in logs)
        for name in EVENT_COLUMNS:
            assert getattr(framed, name).tobytes() == getattr(plain, name).tobytes()
        for log in logs:
            log.close()

    def test_a_key_is_the_same_whichever_way_an_event_came(self, log: Log) -> None:
        assert log.append_events(GOOD).status.tolist() == [ACCEPTED, ACCEPTED, DUPLICATE]
        assert log.append_events(pl.DataFrame(dict(GOOD))).duplicates == 3

    def test_empty_columns_change_nothing(self, log: Log) -> None:
        assert log.append_events({name: [] for name in GOOD}).accepted == 0
        assert log.last_offset() == -1

    @pytest.mark.parametrize(
        ("broken", "named"),
        [
            ({"user_id": ["u", None, "u"]}, "user_id"),
            ({"happend_at": [1, 2, 3]}, "happened_at"),
            ({"position": [0, 1, 40_000]}, "position"),
            ({"position": [0, -1, 1]}, "position"),
            ({"happened_at": ["now", "then", "later"]}, "type"),
            ({"happened_at": [NOON, NOON, 2**63]}, "type|columns"),
            ({"item_id": ["a", 5, "b"]}, "columns"),
            ({"surface": ["home"]}, "columns"),
        ],
    )
    def test_columns_that_break_a_rule_leave_nothing(
        self, log: Log, broken: dict[str, Sequence[object]], named: str
    ) -> None:
        with pytest.raises(DataError, match=named):
            log.append_events({**GOOD, **broken})
        assert log.last_offset() == -1
        assert log.ids("user") == []

    def test_marks_say_whether_there_is_news_beside_events(self, log: Log) -> None:
        new = log.marks()
        assert (new.event_types, new.surfaces) == (0, 1)
        log.append_events(events(("click", "u", "a", 0)))
        first = log.marks()
        assert first.event_types == 1
        assert first.revision > new.revision
        log.append_events(events(("click", "u", "a", 1)))
        assert log.marks() == first
        log.append_events(events(("click", "u", "a", 2), surface=["home"]))
        assert log.marks().surfaces == 2
        log.append_events(events(("like", "u", "a", 2)))
        assert log.marks().event_types == 2
        changes: list[Callable[[], int]] = [
            lambda: log.upsert_items(pl.DataFrame({"item_id": ["a"], "title": ["A"]})),
            lambda: log.upsert_users(pl.DataFrame({"user_id": ["v"]})),
            lambda: log.delete_items(["a"]),
        ]
        for change in changes:
            before = log.marks()
            change()
            assert log.marks().revision > before.revision
        assert log.marks().revision == max(
            log.read_items()["revision"].to_list() + log.read_users()["revision"].to_list()
        )
