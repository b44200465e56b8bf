"""The PostgreSQL log: the contract, and what is particular to a server."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.postgres import schema_of
from upnext.errors import ConfigError, StorageError, StorageUnavailable
from upnext.storage import postgres_client
from upnext.storage.open import open_log
from upnext.storage.postgres import PostgresLog
from upnext.storage.postgres_client import Pool
from upnext.storage.postgres_schema import READ_WRITE
from upnext.storage.postgres_url import parse
from upnext.testing.log_contract import LogContract
from upnext.testing.logs import events, some
from upnext.testing.postgres_server import Server


class TestPostgresLog(LogContract):
    @pytest.fixture(autouse=True)
    def _on(self, postgres: Server) -> None:
        self.server = postgres

    def open(self, tmp_path: Path) -> PostgresLog:
        return PostgresLog(self.server.rest(schema_of(tmp_path)))


@pytest.fixture
def opened(postgres: Server, tmp_path: Path) -> Iterator[Callable[[], PostgresLog]]:
    logs: list[PostgresLog] = []

    def again() -> PostgresLog:
        logs.append(PostgresLog(postgres.rest(schema_of(tmp_path))))
        return logs[-1]

    yield again
    for log in logs:
        log.close()


@pytest.fixture
def log(opened: Callable[[], PostgresLog]) -> PostgresLog:
    return opened()


def cut(postgres: Server) -> None:
    """End every other connection to the server, as a failover does."""
    pool = Pool(parse(postgres.rest("upnext")))
    others = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
    pool.rows(f"SELECT count(pg_terminate_backend(pid, 5000)) AS n FROM pg_stat_activity WHERE {others}")
    pool.close()


# -- what lies there already


def test_another_programs_tables_are_left_alone(postgres: Server) -> None:
    pool = Pool(parse(postgres.rest("theirs")))
    pool.rows("CREATE SCHEMA theirs")
    pool.rows("CREATE TABLE users (a integer)")
    with pytest.raises(StorageError, match=r"theirs.*another program's tables.*schema="):
        PostgresLog(postgres.rest("theirs"))
    pool.rows("CREATE TABLE meta (name text)")
    with pytest.raises(StorageError, match="another program's tables"):
        PostgresLog(postgres.rest("theirs"))
    tables = pool.rows("SELECT count(*) AS n FROM pg_tables WHERE schemaname = 'theirs'")
    assert tables["n"].to_list() == [2]
    pool.close()


def test_a_newer_schema_is_refused(log: PostgresLog, opened: Callable[[], PostgresLog]) -> None:
    log.pool.rows("UPDATE meta SET value = 99 WHERE name = 'schema_version'")
    with pytest.raises(StorageError, match=r"version 99.*upgrade"):
        opened()


def test_two_schemas_of_a_database_are_two_logs(postgres: Server, log: PostgresLog) -> None:
    other = PostgresLog(postgres.rest("other_home"))
    other.append_events(some(3))
    assert log.last_offset() == -1
    other.close()


def test_threads_that_open_a_new_log_at_once_make_one(opened: Callable[[], PostgresLog]) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(opened().identity()[0])) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    assert len(set(found)) == 1


# -- values


def test_text_that_the_server_cannot_hold_survives(log: PostgresLog) -> None:
    texts = ["a\x00b", "␀", "␀0", "\x00␀\x000", "plain", "\\0"]
    log.upsert_items(pl.DataFrame({"item_id": texts, "title": texts, "categories": [[text] for text in texts]}))
    items = log.read_items()
    assert items["item_id"].to_list() == items["title"].to_list() == texts
    assert items["categories"].to_list() == [[text] for text in texts]
    assert log.delete_items(texts) == len(texts)


def test_parts_are_the_whole(log: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("postgres._EVENTS_A_PART", "postgres._ITEMS_A_PART", "postgres_write._ROWS_A_STATEMENT"):
        monkeypatch.setattr(f"upnext.storage.{name}", 7)
    log.append_events(some(21))
    log.append_events(some(30))
    assert log.read_events().item.tolist() == list(range(30))
    for limit in (6, 7, 8, 14, 29, 30, 31):
        assert len(log.read_events(limit=limit)) == min(limit, 30)
    assert [len(part) for part in log.item_parts()] == [7, 7, 7, 7, 2]
    revision = log.marks().revision
    log.upsert_items(pl.DataFrame({"item_id": [f"i{n}" for n in range(1, 30, 2)], "title": ["new"] * 15}))
    assert [len(part) for part in log.item_parts(revision)] == [7, 7, 1]
    assert log.read_items(revision)["code"].to_list() == list(range(1, 30, 2))


def test_the_events_of_one_user(log: PostgresLog) -> None:
    log.append_events(events(*(("click", f"u{n % 3}", f"i{n}", n) for n in range(30))))
    assert log.user_events("u1").item.tolist() == list(range(1, 30, 3))
    assert log.user_events("u1", 2).item.tolist() == [25, 28]
    assert len(log.user_events("nobody")) == 0


def test_news_are_looked_up_not_searched_for(log: PostgresLog) -> None:
    """They are asked for several times a second; a scan of ten million rows takes seconds."""
    log.append_events(some(3000))
    for table in ("items", "events"):
        log.pool.rows(f"ANALYZE {table}")
    revision, last = log.marks().revision, log.last_offset()
    news = f"SELECT code FROM items WHERE revision > {revision}", f'SELECT item FROM events WHERE "offset" > {last}'
    for query in news:
        plan = "\n".join(log.pool.rows(f"EXPLAIN {query}").to_series().to_list())
        assert "Index" in plan, plan


# -- connections


def test_connections_lost_while_idle_are_replaced_without_a_word(postgres: Server, log: PostgresLog) -> None:
    log.append_events(some(3))
    cut(postgres)
    assert len(log.read_events()) == 3
    cut(postgres)
    assert log.append_events(some(4)).accepted == 1


def test_a_connection_lost_in_mid_write_leaves_nothing_and_keeps_nobody_waiting(
    postgres: Server, opened: Callable[[], PostgresLog]
) -> None:
    one, other = opened(), opened()
    one.append_events(some(2))

    def write_and_be_cut() -> None:
        with one.transaction() as write:
            write.encode("user", ["doomed"])
            cut(postgres)
            write.encode("user", ["doomed too"])

    with pytest.raises(StorageUnavailable, match="send it again"):
        write_and_be_cut()
    assert other.append_events(some(3)).accepted == 1
    assert one.ids("user") == ["u"]
    assert one.append_events(events(("click", "doomed", "i0", 0))).accepted == 1
    assert other.ids("user") == ["u", "doomed"]


def test_a_writer_that_stands_still_loses_its_turn(
    opened: Callable[[], PostgresLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = opened()  # connected already, with the usual patience
    monkeypatch.setattr(postgres_client, "_SETTINGS", postgres_client._SETTINGS.replace("'30s'", "'200ms'"))
    stalled = opened()

    def stand_still() -> None:
        with stalled.transaction() as write:
            write.take_turn()
            assert other.append_events(some(2)).accepted == 2
            write.encode("user", ["too late"])

    with pytest.raises(StorageUnavailable, match="idle-in-transaction"):
        stand_still()
    assert other.ids("user") == ["u"]


def test_a_writer_that_waits_too_long_for_its_turn_may_try_again(
    opened: Callable[[], PostgresLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_client, "_SETTINGS", postgres_client._SETTINGS.replace("'60s'", "'100ms'"))
    slow, other = opened(), opened()
    with slow.transaction() as write:
        write.take_turn()
        with pytest.raises(StorageUnavailable, match=r"Others have been writing.*again"):
            other.append_events(some(1))
    assert other.append_events(some(1)).accepted == 1


def test_commits_are_durable_whatever_the_servers_default_is(postgres: Server) -> None:
    pool = Pool(parse(postgres.rest("upnext").replace("?", "?options=-csynchronous_commit%3Doff&")))
    assert pool.rows("SELECT current_setting('synchronous_commit') AS now")["now"].to_list() == ["on"]
    pool.close()


def test_errors_of_the_server_are_sentences(log: PostgresLog) -> None:
    with pytest.raises(StorageError, match=r"127\.0\.0\.1.*division by zero\. Nothing"):
        log.pool.rows("SELECT 1/0 AS n")
    log.pool.rows("DROP TABLE events CASCADE")
    with pytest.raises(StorageError, match=r"\"events\" does not exist\. Its tables were removed"):
        log.last_offset()


# -- addresses


def test_an_absent_driver_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    with pytest.raises(ConfigError, match=r"adbc_driver_postgresql.*pip install 'upnext\[postgres\]'"):
        open_log("postgresql://me@127.0.0.1/shop", tmp_path)


@pytest.mark.parametrize(
    ("rest", "kind", "message"),
    [
        ("me:se%40cret@127.0.0.1:1/shop", StorageUnavailable, "Connection refused.*Start the database"),
        ("me@127.0.0.1:1/shop?password=se%40cret", StorageUnavailable, "Connection refused"),
        ("me:se@cret@127.0.0.1:1/shop?password=se@cret", ConfigError, "several @ before the host.*escaped"),
        ("me:se%40cret@127.0.0.1:port/shop", ConfigError, "no URL of a database.*escaped"),
        ("/shop", ConfigError, "names no host"),
        ("me:se%40cret@127.0.0.1/shop?schema=My-Shop", ConfigError, "schema='My-Shop'.*small letters"),
        ("me:se%40cret@127.0.0.1/shop?sslmod=x", StorageError, "sslmod.*Check storage.log"),
    ],
)
def test_bad_addresses_are_explained_and_no_password_is_shown(
    rest: str, kind: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message) as raised:
        open_log(f"postgresql://{rest}", tmp_path)
    for secret in ("se@cret", "se%40cret", "cret@"):
        assert secret not in str(raised.value)


def test_a_database_that_is_not_there_is_to_be_made(postgres: Server) -> None:
    with pytest.raises(StorageError, match=r'"nowhere" does not exist.*createdb'):
        PostgresLog(postgres.rest("upnext", "nowhere"))


def test_a_server_that_is_started_again_is_found_again(postgres: Server, log: PostgresLog) -> None:
    log.append_events(some(2))
    started = time.monotonic()
    postgres.stop()
    with pytest.raises(StorageUnavailable):
        log.read_events()
    with pytest.raises(StorageUnavailable):
        log.append_events(some(3))
    postgres.start()
    assert log.append_events(some(3)).accepted == 1
    assert len(log.read_events()) == 3
    assert time.monotonic() - started < 60


def test_a_transaction_that_breaks_off_is_rolled_back(log: PostgresLog) -> None:

    def interrupted() -> None:
        with log.pool.transaction(READ_WRITE) as session:
            session.rows("INSERT INTO event_types VALUES (0, 'click')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert log.ids("event_type") == []
