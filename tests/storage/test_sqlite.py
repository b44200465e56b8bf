"""The SQLite log: the contract, and what is particular to a file."""

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.errors import ConfigError, DataError, StorageError
from upnext.storage import sqlite_checkpoints
from upnext.storage.keys import content_keys, given_keys, recommendation_hash
from upnext.storage.open import open_log
from upnext.storage.sqlite import SQLiteLog
from upnext.testing.log_contract import LogContract
from upnext.testing.logs import events, some


class TestSQLiteLog(LogContract):
    def open(self, tmp_path: Path) -> SQLiteLog:
        return SQLiteLog(tmp_path / "log.db")


# -- files that are no log


@pytest.mark.parametrize("content", [b"this is not a database, but long enough to have a header" * 50, b"\x00" * 8192])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"log\.db.*backup"):
        SQLiteLog(path)
    assert path.read_bytes() == content


def test_a_damaged_log_says_so(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = SQLiteLog(path)
    log.append_events(some(5000))
    log.close()
    data = bytearray(path.read_bytes())
    data[4096 * 20 :] = os.urandom(len(data) - 4096 * 20)
    path.write_bytes(data)
    log = SQLiteLog(path)
    with pytest.raises(StorageError, match=r"log\.db.*malformed.*backup"):
        log.read_events()
    log.close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    SQLiteLog(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(StorageError, match=r"version 99.*upgrade"):
        SQLiteLog(path)


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (a)")
    db.close()
    with pytest.raises(StorageError, match="another program"):
        SQLiteLog(path)
    db = sqlite3.connect(path)
    assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    db.close()


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere.*folder exists"):
        SQLiteLog(tmp_path / "nowhere" / "log.db")


# -- several processes

WRITER = """
import os, sys
import polars as pl
from upnext.storage.sqlite import SQLiteLog
from upnext.storage import sqlite_write
if sys.argv[2] == "die":
    insert = sqlite_write._inserts
    def dying(columns, count):
        for statement, rows in insert(columns, count):
            yield statement, rows
            os.kill(os.getpid(), 9)
    sqlite_write._inserts = dying
log = SQLiteLog(sys.argv[1])
name = sys.argv[3]
for start in range(0, 100, 20):
    items = [f"i{n}" for n in range(start, start + 20)]
    log.append_events(pl.DataFrame({"item_id": items}).select(
        "item_id", event_type=pl.lit("click"), user_id=pl.lit(name), happened_at=pl.lit(1_650_000_000_000)))
log.close()
"""


def _writer(path: Path, mode: str, name: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(path), mode, name])


def test_a_writer_killed_in_mid_append_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = SQLiteLog(path)
    log.append_events(some(3))
    assert _writer(path, "die", "doomed").wait() == -signal.SIGKILL
    assert log.last_offset() == 2
    assert log.ids("user") == ["u"]
    assert log.append_events(some(4)).accepted == 1
    log.close()


def test_processes_make_and_write_one_new_log_together(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    writers = [_writer(path, "live", f"u{number}") for number in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    log = SQLiteLog(path)
    read = log.read_events()
    assert len(read) == 300
    assert sorted(log.ids("user")) == ["u0", "u1", "u2"]
    assert len(log.ids("item")) == 100
    assert np.bincount(read.user).tolist() == [100, 100, 100]
    log.close()


def _count(path: str, answer: "multiprocessing.Queue[int]") -> None:
    log = SQLiteLog(path)
    answer.put(len(log.read_events()))
    log.close()


def test_what_is_acknowledged_is_seen_by_another_process(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log.db")
    log.append_events(some(7))
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.Queue[int] = context.Queue()
    process = context.Process(target=_count, args=(str(log.path), answer))
    process.start()
    assert answer.get(timeout=60) == 7
    process.join()
    answer.close()
    answer.join_thread()
    log.close()


def test_commits_are_synchronous(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log.db")
    with log.connection() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    log.close()


# -- limits and properties


def test_too_many_surfaces_are_refused_as_a_whole(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log.db")
    frame = some(32_768).with_columns(surface=pl.col("item_id"))
    with pytest.raises(DataError, match="surfaces"):
        log.append_events(frame)
    assert log.ids("surface") == [""]
    assert log.append_events(frame[:32_767]).accepted == 32_767
    assert log.read_events().surface.max() == 32_767
    log.close()


def test_the_cache_of_ids_may_overflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upnext.storage.sqlite._CACHED_IDS", 10)
    log = SQLiteLog(tmp_path / "log.db")
    for size in (8, 30, 50):
        log.append_events(some(size))
    assert log.ids("item") == [f"i{n}" for n in range(50)]
    assert log.read_events().item.tolist() == list(range(50))
    log.close()


rows = st.lists(
    st.tuples(st.sampled_from(["click", "like"]), st.sampled_from("uvw"), st.sampled_from("abc"), st.integers(0, 3)),
    max_size=30,
)


@settings(max_examples=40)
@given(batches=st.lists(rows, min_size=1, max_size=4))
def test_the_log_holds_the_first_of_equal_events(
    batches: list[list[tuple[str, str, str, int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = SQLiteLog(tmp_path_factory.mktemp("log") / "log.db")
    for batch in batches:
        if batch:
            log.append_events(events(*batch))
    read, names = log.read_events(), {kind: log.ids(kind) for kind in ("event_type", "user", "item")}
    found = [
        (names["event_type"][kind], names["user"][user], names["item"][item], at - 1_650_000_000_000)
        for kind, user, item, at in zip(read.type, read.user, read.item, read.happened_at.tolist(), strict=True)
    ]
    assert found == list(dict.fromkeys(row for batch in batches for row in batch))
    log.close()


# -- keys are written to disk: they may never change


FROZEN = (
    9088748164469978632,
    -8771681944738400219,
    -1845057954912170820,
    -2725751977871446117,
    1730150400000598215,
    5974680883879936159,
)


def test_hashes_are_frozen() -> None:
    assert recommendation_hash(["kuairand-1-2", None, "", "動画"]).tolist() == [FROZEN[0], 0, 0, FROZEN[1]]
    assert given_keys(["e1"]) == ([FROZEN[2]], [FROZEN[3]])
    high, low = content_keys(np.array([1_650_000_000_000]), [np.array([5]), np.array([-7])])
    assert (high.tolist(), low.tolist()) == ([FROZEN[4]], [FROZEN[5]])


def test_content_keys_lead_with_the_time() -> None:
    times = np.sort(np.random.default_rng(0).integers(0, 2**42, 1000))
    high, _ = content_keys(times, [np.arange(1000)])
    assert np.all(np.diff(high) > 0)


def test_content_keys_do_not_collide() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(-20, 20)] * 3), -1).reshape(-1, 3)
    _, low = content_keys(np.zeros(len(grid), np.int64), [np.ascontiguousarray(column) for column in grid.T])
    assert len(np.unique(low)) == len(grid)


# -- URLs


def test_urls(tmp_path: Path) -> None:
    open_log("sqlite:///var/log.db", tmp_path).close()
    assert (tmp_path / "var" / "log.db").is_file()
    open_log(f"sqlite:///{tmp_path}/absolute.db", tmp_path / "elsewhere").close()
    assert (tmp_path / "absolute.db").is_file()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("oracle://host/db", "unknown scheme 'oracle'.*sqlite://"),
        ("postgres://me:secret@host/db", r"me:\*\*\*@host.*did you mean 'postgresql'"),
        ("sqlit:///x.db", "did you mean 'sqlite'"),
        ("var/log.db", "no URL.*sqlite:///var/log.db"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///.", "is a folder"),
    ],
)
def test_bad_urls_are_explained(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_log(url, tmp_path)


def test_news_of_items_and_users_are_looked_up_not_searched_for(tmp_path: Path) -> None:
    """They are asked for several times a second; a scan of ten million items takes seconds."""
    log, plans = SQLiteLog(tmp_path / "log.db"), list[str]()
    log.upsert_items(pl.DataFrame({"item_id": [f"i{n}" for n in range(50)]}))
    log.upsert_users(pl.DataFrame({"user_id": ["u"]}))
    _, revision = log.identity()
    with log.connection() as db:
        db.set_trace_callback(plans.append)
    assert list(log.item_parts(revision)) == []
    assert log.read_users(revision).is_empty()
    with log.connection() as db:
        db.set_trace_callback(None)
        asked = [plan for plan in plans if "FROM items" in plan or "FROM users" in plan]
        assert len(asked) == 2
        for statement in asked:
            steps = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert any("_revision (revision>" in step for step in steps), steps


# -- the write-ahead log


def times_started_anew(path: Path) -> int:
    """The checkpoint sequence number in the header of the write-ahead log (SQLite's file format, section 4.1)."""
    with path.with_name(path.name + "-wal").open("rb") as file:
        return int.from_bytes(file.read(16)[12:], "big")


def test_the_write_ahead_log_is_emptied_beside_the_writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_checkpoints, "EVERY_S", 0.02)
    path = tmp_path / "log.db"
    log = SQLiteLog(path)
    log.append_events(some(500))
    until = time.monotonic() + 20
    while path.stat().st_size < 4096 * 20 and time.monotonic() < until:
        time.sleep(0.01)
    assert path.stat().st_size >= 4096 * 20  # nobody but the log itself has touched the file so far
    log.close()
    assert len(SQLiteLog(path).read_events()) == 500


def test_the_write_ahead_log_is_started_anew_under_steady_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_checkpoints, "MANY_PAGES", 50)
    monkeypatch.setattr(sqlite_checkpoints, "TOO_MANY_PAGES", 100)
    path = tmp_path / "log.db"
    log = SQLiteLog(path)
    log.append_events(events(("click", "u", "i", 0)))
    before, written, until = times_started_anew(path), 1, time.monotonic() + 30
    while times_started_anew(path) == before and time.monotonic() < until:
        log.append_events(events(("click", f"u{written}", f"i{written}", written)))
        written += 1
    assert times_started_anew(path) > before
    assert len(log.read_events()) == written
    log.close()


def test_a_log_that_is_closed_while_it_is_written_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_checkpoints, "MANY_PAGES", 5)
    monkeypatch.setattr(sqlite_checkpoints, "TOO_MANY_PAGES", 0)
    log, written = SQLiteLog(tmp_path / "log.db"), 0

    def write() -> None:
        nonlocal written
        with contextlib.suppress(StorageError):
            for n in range(10_000):
                log.append_events(events(("click", "u", f"i{n}", n)))
                written += 1

    writer = threading.Thread(target=write)
    writer.start()
    while written < 20:
        time.sleep(0.001)
    log.close()
    writer.join(30)
    assert not writer.is_alive()
    assert len(SQLiteLog(tmp_path / "log.db").read_events()) == written
