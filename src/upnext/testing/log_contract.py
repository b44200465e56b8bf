"""What every log must do, as a pytest class: subclass it and say how to open one.

class TestMine(LogContract):
    def open(self, tmp_path): return MyLog(tmp_path / "log")
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from upnext.errors import DataError, StorageError
from upnext.storage.keys import recommendation_hash
from upnext.storage.log import ACCEPTED, DUPLICATE, EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA, Log
from upnext.testing.columns_contract import ColumnsContract
from upnext.testing.logs import NOON, events, some


class LogContract(ColumnsContract):
    def test_item_parts_are_read_items(self, log: Log) -> None:
        assert list(log.item_parts()) == []
        log.upsert_items(pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["x", None, "z"]}))
        revision = int(log.read_items()["revision"].max())  # type: ignore[arg-type]
        log.upsert_items(pl.DataFrame({"item_id": ["b"], "title": ["new"]}))
        assert pl.concat(log.item_parts()).equals(log.read_items())
        assert pl.concat(log.item_parts(revision))["item_id"].to_list() == ["b"]

    def test_an_identity_of_its_own(self, opened: Callable[[], Log], tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        log, other = opened(), self.open(tmp_path / "other")
        number, revision = log.identity()
        assert opened().identity() == (number, revision)
        assert other.identity()[0] != number
        other.close()
        log.upsert_items(pl.DataFrame({"item_id": ["a"]}))
        assert log.identity() == (number, int(log.read_items()["revision"].max()))  # type: ignore[arg-type]

    def test_new_log_is_empty(self, log: Log) -> None:
        assert log.last_offset() == -1
        assert len(log.read_events()) == 0
        assert log.read_items().is_empty()
        assert log.read_users().is_empty()
        assert log.ids("surface") == [""]
        assert log.ids("user") == log.ids("item") == log.ids("event_type") == []

    def test_empty_frames_change_nothing(self, log: Log) -> None:
        assert log.append_events(pl.DataFrame(schema=EVENT_SCHEMA)).accepted == 0
        assert log.upsert_items(pl.DataFrame(schema=ITEM_SCHEMA)) == 0
        assert log.upsert_users(pl.DataFrame(schema=USER_SCHEMA)) == 0
        assert log.delete_items([]) == log.delete_users([]) == 0
        assert log.last_offset() == -1

    def test_empty_reads_have_the_columns_of_full_ones(self, log: Log) -> None:
        items, users = log.read_items(), log.read_users()
        log.upsert_items(pl.DataFrame({"item_id": ["a"], "vector": [[1.0]], "categories": [["x"]]}))
        log.upsert_users(pl.DataFrame({"user_id": ["u"]}))
        assert log.read_items().schema == items.schema
        assert log.read_users().schema == users.schema
        assert items.columns == [*ITEM_SCHEMA, "code", "deleted", "revision"]
        assert users.columns == [*USER_SCHEMA, "code", "deleted", "revision"]

    def test_events_come_back_in_the_order_given(self, log: Log) -> None:
        log.append_events(events(("click", "u1", "b", 5), ("like", "u0", "a", 1), ("click", "u1", "a", 3)))
        log.append_events(events(("click", "u2", "b", 0)))
        read = log.read_events()
        assert log.ids("user") == ["u1", "u0", "u2"]
        assert read.user.tolist() == [0, 1, 0, 2]
        assert read.item.tolist() == [0, 1, 1, 0]
        assert read.type.tolist() == [0, 1, 0, 0]
        assert (read.happened_at - NOON).tolist() == [5, 1, 3, 0]
        assert np.all(np.diff(read.offset) > 0)
        assert log.last_offset() == read.offset[-1]

    def test_every_column_survives(self, log: Log) -> None:
        frame = events(
            ("watch", "u", "i", 0),
            ("watch", "u", "j", 1),
            received_at=[NOON + 7, None],
            value=[12.5, None],
            recommendation_id=["r1", None],
            position=[3, None],
            surface=["home", None],
            as_of=[41, None],
            session_id=["s", None],
            context=['{"device": "tv"}', None],
        )
        log.append_events(frame)
        read = log.read_events()
        assert read.received_at.tolist() == [NOON + 7, NOON + 1]
        np.testing.assert_array_equal(read.value, np.array([12.5, np.nan], np.float32))
        assert read.recommendation.tolist() == [int(recommendation_hash(["r1"])[0]), 0]
        assert read.position.tolist() == [3, -1]
        assert read.surface.tolist() == [1, 0]
        assert log.ids("surface") == ["", "home"]
        assert read.as_of.tolist() == [41, -1]
        names = read.__slots__
        assert {name: getattr(read, name).dtype for name in names} == {
            name: getattr(type(read).empty(), name).dtype for name in names
        }

    def test_extreme_values_survive(self, log: Log) -> None:
        frame = events(("watch", "u", "i", 0), ("watch", "u", "i", 1), ("watch", "u", "i", 2))
        log.append_events(
            frame.with_columns(
                value=pl.Series([-0.0, 3.0e38, -1.5e-30]),
                position=pl.Series([0, 32_767, None], dtype=pl.Int64),
                as_of=pl.Series([0, 2**62, None], dtype=pl.Int64),
                context=pl.Series(["{}", '{"text": "' + "x" * 1_000_000 + '"}', None]),
            )
        )
        read = log.read_events()
        np.testing.assert_array_equal(read.value, np.array([0.0, 3.0e38, -1.5e-30], np.float32))
        assert read.position.tolist() == [0, 32_767, -1]
        assert read.as_of.tolist() == [0, 2**62, -1]

    def test_reading_after_an_offset_and_with_a_limit(self, log: Log) -> None:
        log.append_events(some(1000))
        everything = log.read_events()
        middle = int(everything.offset[399])
        assert log.read_events(after=middle).offset.tolist() == everything.offset[400:].tolist()
        assert log.read_events(after=middle, limit=300).offset.tolist() == everything.offset[400:700].tolist()
        assert len(log.read_events(limit=0)) == 0
        assert len(log.read_events(after=log.last_offset())) == 0

    def test_unicode_ids(self, log: Log) -> None:
        names = ["Lumière", "動画", "a\x00b", "a", "🎬 ", " ", "x" * 512, "'; DROP TABLE events; --", "A"]
        log.append_events(events(*(("click", name, name, n) for n, name in enumerate(names))))
        assert log.ids("user") == log.ids("item") == names
        assert log.read_events().user.tolist() == list(range(len(names)))

    def test_the_same_event_id_counts_once(self, log: Log) -> None:
        two = events(("click", "u", "a", 0), ("like", "v", "b", 9), event_id=["e", "e"])
        assert log.append_events(two).status.tolist() == [ACCEPTED, DUPLICATE]
        other = events(("click", "w", "c", 5), ("click", "u", "a", 0), event_id=["e", "f"])
        assert log.append_events(other).status.tolist() == [DUPLICATE, ACCEPTED]
        assert log.read_events().type.tolist() == [0, 0]

    def test_rows_without_event_id_count_once_by_content(self, log: Log) -> None:
        frame = events(("click", "u", "a", 0), ("click", "u", "a", 0), ("click", "u", "a", 1))
        assert log.append_events(frame).status.tolist() == [ACCEPTED, DUPLICATE, ACCEPTED]
        assert log.append_events(frame[::-1]).status.tolist() == [DUPLICATE] * 3
        assert log.append_events(frame).duplicates == 3

    @pytest.mark.parametrize(
        ("column", "values"),
        [
            ("event_type", ["click", "like"]),
            ("user_id", ["u", "v"]),
            ("item_id", ["a", "b"]),
            ("happened_at", [1, 2]),
            ("value", [1.0, 2.0]),
            ("value", [0.0, None]),
            ("session_id", ["s", None]),
            ("recommendation_id", ["r", "q"]),
            ("position", [0, None]),
            ("surface", ["home", None]),
            ("context", ["{}", None]),
        ],
    )
    def test_rows_that_differ_anywhere_are_two_events(self, log: Log, column: str, values: list[object]) -> None:
        frame = events(("click", "u", "a", 1), ("click", "u", "a", 1))
        frame = frame.with_columns(pl.Series(column, values, EVENT_SCHEMA[column]))
        assert log.append_events(frame).accepted == 2

    def test_rows_with_and_without_event_id_mix(self, log: Log) -> None:
        frame = events(*((("click", "u", "a", n)) for n in (0, 0, 1, 1)), event_id=["x", None, None, None])
        assert log.append_events(frame).status.tolist() == [ACCEPTED, ACCEPTED, ACCEPTED, DUPLICATE]
        assert log.append_events(frame).duplicates == 4

    def test_received_at_is_no_part_of_the_content(self, log: Log) -> None:
        frame = events(("click", "u", "a", 0), ("click", "u", "a", 0), received_at=[NOON + 1, NOON + 2])
        assert log.append_events(frame).duplicates == 1

    @pytest.mark.parametrize(
        ("broken", "named"),
        [
            ({"user_id": ["new", None]}, "user_id"),
            ({"happened_at": [1, None]}, "happened_at"),
            ({"position": [0, 40_000]}, "position"),
            ({"position": [0, -2]}, "position"),
        ],
    )
    def test_a_bad_row_leaves_nothing(self, log: Log, broken: dict[str, list[object]], named: str) -> None:
        good = events(("click", "u", "a", 0), ("click", "v", "b", 0))
        columns = [pl.Series(name, values, EVENT_SCHEMA[name]) for name, values in broken.items()]
        with pytest.raises(DataError, match=named):
            log.append_events(good.with_columns(columns))
        assert log.last_offset() == -1
        assert log.ids("user") == []

    def test_unknown_and_missing_columns_are_named(self, log: Log) -> None:
        with pytest.raises(DataError, match=r"happend_at.*happened_at"):
            log.append_events(events(("click", "u", "a", 0)).rename({"happened_at": "happend_at"}))
        with pytest.raises(DataError, match="item_id"):
            log.append_events(events(("click", "u", "a", 0)).drop("item_id"))
        with pytest.raises(DataError, match="item_id"):
            log.upsert_items(pl.DataFrame({"title": ["t"]}))

    def test_what_arrives_is_received_no_earlier_than_what_is_there(self, opened: Callable[[], Log]) -> None:
        """Two processes' clocks may differ by a little; the log's order is the order of arrival all the same."""
        one, other = opened(), opened()
        one.append_events(events(("click", "u", "a", 100), received_at=[NOON + 100]), arriving=True)
        other.append_events(events(("click", "u", "b", 90), received_at=[NOON + 90]), arriving=True)
        one.append_events(events(("click", "u", "c", 20), received_at=[NOON + 200]), arriving=True)
        one.append_events(events(("click", "u", "d", 5)))  # history that is imported keeps its time
        assert (one.read_events().received_at - NOON).tolist() == [100, 100, 200, 5]

    def test_codes_are_append_only(self, log: Log) -> None:
        log.append_events(some(3))
        log.upsert_items(pl.DataFrame({"item_id": ["i9", "i1", "i8"]}))
        assert log.ids("item") == ["i0", "i1", "i2", "i9", "i8"]
        log.delete_items(["i0", "i9"])
        log.append_events(events(("click", "u", "i9", 50), ("click", "u", "new", 51)))
        assert log.ids("item") == ["i0", "i1", "i2", "i9", "i8", "new"]
        assert log.ids("item", start=4) == ["i8", "new"]
        assert log.read_events().item.tolist() == [0, 1, 2, 3, 5]

    def test_items_come_back_as_given(self, log: Log) -> None:
        frame = pl.DataFrame(
            {
                "item_id": ["b", "a"],
                "title": ["Ünïcode", None],
                "author": ["me", None],
                "categories": [["drama", "a|b"], []],
                "duration": [61.5, None],
                "published_at": [NOON, None],
                "available": [False, None],
                "vector": [[0.5, -1.25], None],
                "attributes": ['{"year": 1999}', None],
            },
            schema=ITEM_SCHEMA,
        )
        assert log.upsert_items(frame) == 2
        read = log.read_items()
        assert read.select(*ITEM_SCHEMA).equals(frame)
        assert read["code"].to_list() == [0, 1]
        assert read["deleted"].to_list() == [False, False]
        assert read["revision"].min() >= 1  # type: ignore[operator]

    def test_a_column_left_out_keeps_and_a_null_clears(self, log: Log) -> None:
        log.upsert_items(pl.DataFrame({"item_id": ["a"], "title": ["old"], "duration": [5.0]}))
        assert log.upsert_items(pl.DataFrame({"item_id": ["a"], "title": ["new"]})) == 1
        assert log.read_items().select("title", "duration").rows() == [("new", 5.0)]
        assert log.upsert_items(pl.DataFrame({"item_id": ["a"], "duration": [None]})) == 1
        assert log.read_items().select("title", "duration").rows() == [("new", None)]

    def test_upsert_counts_what_really_changed(self, log: Log) -> None:
        frame = pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"], "categories": [["x"], None]})
        assert log.upsert_items(frame) == 2
        before = log.read_items()
        assert log.upsert_items(frame) == 0
        assert log.read_items().equals(before)
        assert log.upsert_items(frame.with_columns(title=pl.Series(["A", "C"]))) == 1

    def test_the_last_row_of_an_item_counts(self, log: Log) -> None:
        assert log.upsert_items(pl.DataFrame({"item_id": ["a", "a"], "title": ["one", "two"]})) == 1
        assert log.read_items()["title"].to_list() == ["two"]

    def test_items_known_only_from_events(self, log: Log) -> None:
        log.append_events(events(("click", "u", "a", 0)))
        read = log.read_items()
        assert read["item_id"].to_list() == ["a"]
        assert read["title"].to_list() == [None]
        assert read["revision"][0] >= 1
        assert log.read_users()["user_id"].to_list() == ["u"]
        assert log.upsert_items(pl.DataFrame({"item_id": ["a"], "title": ["A"]})) == 1
        assert log.read_items()["code"].to_list() == [0]

    def test_delete_and_revive(self, log: Log) -> None:
        log.upsert_items(pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]}))
        assert log.delete_items(["a", "nobody", "a"]) == 1
        assert log.delete_items(["a"]) == 0
        assert log.read_items()["deleted"].to_list() == [True, False]
        log.append_events(events(("click", "u", "a", 0)))
        assert log.read_items()["deleted"].to_list() == [True, False]
        assert log.upsert_items(pl.DataFrame({"item_id": ["a"]})) == 1
        assert log.read_items()["deleted"].to_list() == [False, False]

    def test_vectors_of_another_length_are_refused(self, log: Log) -> None:
        log.upsert_items(pl.DataFrame({"item_id": ["a"], "vector": [[1.0, 2.0]]}))
        for vectors in ([[1.0]], [[1.0, 2.0], [1.0, 2.0, 3.0]]):
            ids = [f"n{number}" for number in range(len(vectors))]
            with pytest.raises(DataError, match="vector"):
                log.upsert_items(pl.DataFrame({"item_id": ids, "vector": vectors}))
        assert log.ids("item") == ["a"]

    def test_users(self, log: Log) -> None:
        frame = pl.DataFrame(
            {"user_id": ["u", "v"], "attributes": ['{"age": "30"}', None], "blocked_authors": [["x", "y"], None]},
            schema=USER_SCHEMA,
        )
        assert log.upsert_users(frame) == 2
        assert log.read_users().select(*USER_SCHEMA).equals(frame)
        assert log.upsert_users(frame) == 0
        assert log.delete_users(["v", "w"]) == 1
        assert log.read_users()["deleted"].to_list() == [False, True]
        assert log.upsert_users(pl.DataFrame({"user_id": ["v"]})) == 1

    def test_revisions_rise_and_tail_the_changes(self, log: Log) -> None:
        log.upsert_items(pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["A", "B", "C"]}))
        seen = log.read_items()["revision"].max()
        assert isinstance(seen, int)
        assert log.read_items(after=seen).is_empty()
        log.upsert_users(pl.DataFrame({"user_id": ["u"]}))
        log.upsert_items(pl.DataFrame({"item_id": ["a", "c"], "title": ["A", "changed"]}))
        log.delete_items(["b"])
        log.append_events(events(("click", "u", "d", 0)))
        assert log.read_items(after=seen)["item_id"].to_list() == ["b", "c", "d"]
        log.append_events(events(("click", "u", "a", 1)))
        assert log.read_items(after=seen)["item_id"].to_list() == ["b", "c", "d"]

    def test_two_connections_see_each_other(self, opened: Callable[[], Log]) -> None:
        one, two = opened(), opened()
        one.append_events(events(("click", "u", "a", 0)))
        two.append_events(events(("like", "v", "a", 1), ("click", "u", "b", 2), ("click", "u", "a", 0)))
        one.append_events(events(("click", "v", "b", 3)))
        assert one.ids("user") == two.ids("user") == ["u", "v"]
        assert one.read_events().user.tolist() == two.read_events().user.tolist() == [0, 1, 0, 1]
        assert two.read_events().item.tolist() == [0, 0, 1, 1]

    def test_writers_in_threads_lose_nothing(self, opened: Callable[[], Log]) -> None:
        logs = [opened(), opened()]
        errors: list[Exception] = []

        def write(number: int) -> None:
            try:
                for start in range(0, 60, 10):
                    rows = (("click", f"u{number}", f"i{n}", n) for n in range(start, start + 10))
                    logs[number % 2].append_events(events(*rows))
                    logs[number % 2].read_events()
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        read = logs[0].read_events()
        assert len(read) == 360
        assert len(np.unique(read.offset)) == 360
        users, items = logs[0].ids("user"), logs[0].ids("item")
        assert sorted(users) == [f"u{number}" for number in range(6)]
        assert len(items) == len(set(items)) == 60
        for code, name in enumerate(users):
            assert name in users
            own = [items[item] for item in read.item[read.user == code]]
            assert own == [f"i{n}" for n in range(60)]  # each writer's events keep their order

    def test_the_same_events_from_many_threads_count_once(self, log: Log) -> None:
        accepted: list[int] = []
        frame = some(200)
        threads = [
            threading.Thread(target=lambda: accepted.append(log.append_events(frame).accepted)) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(accepted) == [0, 0, 0, 0, 200]

    def test_everything_is_there_after_reopening(self, opened: Callable[[], Log]) -> None:
        log = opened()
        log.append_events(some(5))
        log.upsert_items(pl.DataFrame({"item_id": ["z"], "title": ["Z"]}))
        events_before, items_before = log.read_events(), log.read_items()
        log.close()
        again = opened()
        assert again.read_events().offset.tolist() == events_before.offset.tolist()
        assert again.read_items().equals(items_before)
        assert again.append_events(some(6)).status.tolist() == [DUPLICATE] * 5 + [ACCEPTED]
        assert again.last_offset() > events_before.offset[-1]

    def test_a_closed_log_says_so(self, log: Log) -> None:
        log.close()
        log.close()
        with pytest.raises(StorageError, match="closed"):
            log.last_offset()
        with pytest.raises(StorageError, match="closed"):
            log.append_events(some(1))
