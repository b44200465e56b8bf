"""A source into the log: everything is counted, in the order of time, and twice is the same as once."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from upnext.errors import DataError
from upnext.events import importing
from upnext.events.importing import Counts, Summary, import_source
from upnext.events.open import open_source
from upnext.storage.log import Log
from upnext.storage.sqlite import SQLiteLog
from upnext.training.progress import Step

TYPES = ["impression", "click"]
NOON = 1_650_000_000_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteLog]:
    log = SQLiteLog(tmp_path / "log.db")
    yield log
    log.close()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "items.csv").write_text("item_id,title,duration\na,A,5\nb,B,-1\nc,C,\n")
    (folder / "users.jsonl").write_text('{"user_id": "u", "age": 3}\n{"user_id": ""}\n')
    (folder / "events.csv").write_text(
        "event_type,user_id,item_id,timestamp\n"
        f"click,u,a,{NOON + 9}\nclick,u,z,{NOON + 3}\nclik,u,a,{NOON}\nclick,u,a,{NOON + 9}\nbroken\n"
    )
    return folder


def run(log: Log, path: Path) -> Summary:
    return import_source(log, open_source([str(path)]), TYPES, path.parent / "rejects")


def test_everything_is_counted(log: SQLiteLog, shop: Path) -> None:
    summary = run(log, shop)
    assert summary.counts == {
        "items": Counts(read=3, added=2, known=0, rejected=1),
        "users": Counts(read=2, added=1, known=0, rejected=1),
        "events": Counts(read=5, added=2, known=1, rejected=2),
    }
    assert log.ids("item") == ["a", "c", "z"]
    events = log.read_events()
    assert (events.happened_at - NOON).tolist() == [3, 9]
    assert events.item.tolist() == [2, 0]


def test_rejects_are_written_with_their_place_and_reason(log: SQLiteLog, shop: Path) -> None:
    summary = run(log, shop)
    assert summary.rejects is not None
    assert summary.rejects.parent == shop.parent / "rejects"
    assert summary.rejects.name.startswith("shop-")
    rows = [json.loads(line) for line in summary.rejects.read_text().splitlines()]
    assert [(row["file"], row["line"], row["column"], row["value"]) for row in rows] == [
        ("items.csv", 3, "duration", "-1"),
        ("users.jsonl", 2, "user_id", ""),
        ("events.csv", 6, "", "broken"),
        ("events.csv", 4, "event_type", "clik"),
    ]
    assert all(row["reason"] for row in rows)


def test_importing_twice_adds_nothing(log: SQLiteLog, shop: Path) -> None:
    run(log, shop)
    before = (log.read_items(), log.read_users(), log.last_offset())
    summary = run(log, shop)
    assert [count.added for count in summary.counts.values()] == [0, 0, 0]
    assert [count.known for count in summary.counts.values()] == [2, 1, 3]
    items, users, offset = before
    assert log.read_items().equals(items)
    assert log.read_users().equals(users)
    assert log.last_offset() == offset


def test_no_rejects_no_file(log: SQLiteLog, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id\na\n")
    summary = run(log, tmp_path / "items.csv")
    assert summary.rejects is None
    assert not (tmp_path / "rejects").exists()


def test_an_import_that_breaks_off_can_be_repeated(log: SQLiteLog, shop: Path) -> None:
    (shop / "events-2.csv").write_text("nonsense\n1\n")
    with pytest.raises(DataError, match=r"events-2\.csv"):
        run(log, shop)
    (shop / "events-2.csv").unlink()
    assert run(log, shop).counts["events"] == Counts(read=5, added=2, known=1, rejected=2)


def test_events_are_in_order_over_all_files(log: SQLiteLog, tmp_path: Path) -> None:
    times = np.random.default_rng(0).permutation(3000)
    for number, part in enumerate(np.split(times, 3)):
        frame = pl.DataFrame({"happened_at": part + NOON}).with_columns(event_type=pl.lit("click"), user_id=pl.lit("u"))
        frame.with_columns(item_id=pl.col("happened_at")).write_parquet(tmp_path / f"events-{number}.parquet")
    summary = run(log, tmp_path)
    assert (log.read_events().happened_at - NOON).tolist() == list(range(3000))
    assert not any("order" in note for note in summary.notes)


def test_too_many_to_be_ordered_at_once_is_said(
    log: SQLiteLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "SORTED_ROWS", 3)
    for number in range(4):
        lines = [f"click,u,i,{NOON + 10 * number + at}" for at in (2, 1)]
        (tmp_path / f"events-{number}.csv").write_text("event_type,user_id,item_id,timestamp\n" + "\n".join(lines))
    summary = run(log, tmp_path)
    assert any("order of time within parts" in note for note in summary.notes)
    assert summary.counts["events"].added == 8
    assert (log.read_events().happened_at - NOON).tolist() == [1, 2, 11, 12, 21, 22, 31, 32]


def test_vectors_need_one_length_over_files_and_log(log: SQLiteLog, tmp_path: Path) -> None:
    (tmp_path / "items-1.jsonl").write_text('{"item_id": "a", "vector": [1, 2]}')
    (tmp_path / "items-2.jsonl").write_text('{"item_id": "b", "vector": [1]}')
    assert run(log, tmp_path).counts["items"] == Counts(read=2, added=1, known=0, rejected=1)
    with pytest.raises(DataError, match=r"items-2\.jsonl: .*vectors of 1 numbers; this log's have 2"):
        run(log, tmp_path / "items-2.jsonl")


class Recorded:
    """A progress that remembers how far each step came."""

    def __init__(self) -> None:
        self.steps: dict[str, list[int]] = {}

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Step]:
        seen = self.steps.setdefault(description, [total, 0])

        def step(advance: int, message: str) -> None:
            seen[1] += advance

        yield step

    def say(self, text: str) -> None:
        raise AssertionError(text)


def test_progress_reaches_its_total(log: SQLiteLog, shop: Path) -> None:
    progress = Recorded()
    import_source(log, open_source([str(shop)]), TYPES, shop.parent / "rejects", progress)
    assert set(progress.steps) == {"Reading", "Appending"}
    assert all(total == done for total, done in progress.steps.values())


def test_the_summary_prints_as_a_table(log: SQLiteLog, shop: Path) -> None:
    (shop / "README").touch()
    console = Console(file=io.StringIO(), width=120)
    console.print(run(log, shop))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "known already" in text
    assert "events" in text
    assert "rejects/shop-" in text
    assert "left out the files README" in text
    assert "events/s" in text


row = st.tuples(
    st.sampled_from(["click", "impression", "bogus"]), st.sampled_from("uv "), st.sampled_from("ab"), st.integers(0, 4)
)


@settings(max_examples=25)
@given(rows=st.lists(row, max_size=25))
def test_any_file_twice_is_once(
    rows: list[tuple[str, str, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("import")
    lines = [f"{kind},{user},{item},{NOON + at}" for kind, user, item, at in rows]
    (folder / "events.csv").write_text("event_type,user_id,item_id,timestamp\n" + "\n".join(lines))
    log = SQLiteLog(folder / "log.db")
    first = run(log, folder / "events.csv").counts["events"]
    valid = [entry for entry in rows if entry[0] != "bogus" and entry[1] != " "]
    assert first == Counts(
        read=len(rows),
        added=len(set(valid)),
        known=len(valid) - len(set(valid)),
        rejected=len(rows) - len(valid),
    )
    stored = log.read_events()
    assert np.all(np.diff(stored.happened_at) >= 0)
    second = run(log, folder / "events.csv").counts["events"]
    assert (second.added, second.known) == (0, len(valid))
    assert log.last_offset() == (stored.offset[-1] if len(stored) else -1)
    log.close()
