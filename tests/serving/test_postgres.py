"""Servers of several machines on one database: what one is told the others know, and a restart of it loses nothing."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest

from tests.postgres import schema_of
from tests.serving.server import running
from tests.waiting import wait_for
from upnext.bench.server import Client, ServerProcess
from upnext.errors import StorageUnavailable
from upnext.home import Home
from upnext.storage.log import Log
from upnext.storage.sqlite import SQLiteLog
from upnext.testing.postgres_server import Server

BASE = 1_650_000_000_000
WITHIN_S = 10.0  # benchmarks.postgres measures it: here the machine may be busy


@pytest.fixture
def homes(postgres: Server, tmp_path: Path) -> list[Home]:
    """Two machines' homes with one log, in which there are items."""
    url = f"postgresql://{postgres.rest(schema_of(tmp_path))}"
    for name in ("one", "other"):
        made = Home.create(tmp_path / name)
        settings = made.directory / "upnext.toml"
        settings.write_text(settings.read_text().replace("sqlite:///var/log.db", url))
    found = [Home.open(tmp_path / name) for name in ("one", "other")]
    log = found[0].log()
    log.upsert_items(pl.DataFrame({"item_id": [f"i{n}" for n in range(50)], "title": ["x"] * 50}))
    log.close()
    return found


@pytest.fixture
def servers(homes: list[Home]) -> Iterator[list[ServerProcess]]:
    started = [ServerProcess(home.directory) for home in homes]
    yield started
    for server in started:
        server.end()


class Stream(threading.Thread):
    """Events, numbered by when they happened, from a client that does what a 503 asks for."""

    def __init__(self, server: ServerProcess, first: int) -> None:
        super().__init__(daemon=True)
        self._server, self._next, self._ended = server, first, threading.Event()
        self.acknowledged: list[int] = []
        self.refused = self.advised = 0
        self.odd: list[object] = []
        self.start()

    def run(self) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self._server.port}", timeout=30) as client:
            while not self._ended.is_set():
                numbers = range(self._next, self._next + 5)
                answer = client.post("/v1/events", json=[_event(number) for number in numbers])
                if answer.status_code == 200:
                    self.acknowledged += numbers
                    self._next += 5
                elif answer.status_code == 503:
                    self.refused += 1
                    self.advised += answer.headers.get("retry-after") == "1"
                    self.odd += [text for text in ["Traceback"] if text in answer.text]
                    time.sleep(0.05)
                else:
                    self.odd.append((answer.status_code, answer.text))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _event(number: int) -> dict[str, object]:
    rest = {"event_type": "click", "user_id": f"u{number % 7}", "item_id": f"i{number % 50}"}
    return {**rest, "event_id": f"e{number}", "timestamp": BASE + number}


def test_two_machines_one_database_and_its_restarts(
    postgres: Server, homes: list[Home], servers: list[ServerProcess]
) -> None:
    with servers[0].client() as one, servers[1].client() as other:
        _an_event_of_one_is_in_the_answers_of_the_other(one, other)
        streams = [Stream(server, 1_000_000 * n) for n, server in enumerate(servers)]
        for how in (signal.SIGINT, signal.SIGQUIT):  # in good order, and as after a crash
            _each(streams, lambda stream: len(stream.acknowledged), 50)
            postgres.stop(how)
            _each(streams, lambda stream: stream.refused, 2)
            status, answer = one("POST", "/v1/recommendations", {"user_id": "u1", "n": 3})
            assert (status, len(answer["items"])) == (200, 3)  # answers need no database
            postgres.start()
            _each(streams, lambda stream: len(stream.acknowledged), 50)
        for stream in streams:
            stream.stop()
            assert stream.odd == []
            assert stream.refused == stream.advised > 0
        log = homes[0].log()
        _nothing_is_lost_nor_there_twice(log, streams)
        wait_for(lambda: _impressions(log) == 6, 10)  # those of the answers while it was away, too
        log.close()

        def offsets() -> list[int]:
            return [client("GET", "/v1/health/ready")[1]["log_offset"] for client in (one, other)]

        wait_for(lambda: len(set(offsets())) == 1, 10)  # both have read all of it again


def _each(streams: list[Stream], count: Callable[[Stream], int], more: int) -> None:
    """Wait until each has so many more."""
    before = list(map(count, streams))
    wait_for(lambda: all(count(stream) > n + more for stream, n in zip(streams, before, strict=True)), 30)


def _an_event_of_one_is_in_the_answers_of_the_other(one: Client, other: Client) -> None:
    assert one("POST", "/v1/events", {"event_type": "click", "user_id": "fresh", "item_id": "i1"})[0] == 200
    question = {"user_id": "fresh", "log_impressions": False}
    basis = "history of 1 event"
    wait_for(lambda: other("POST", "/v1/recommendations", question)[1]["basis"] == basis, WITHIN_S)


def _nothing_is_lost_nor_there_twice(log: Log, streams: list[Stream]) -> None:
    happened = log.read_events().happened_at - BASE
    found = happened[happened < 10_000_000].tolist()
    assert len(found) == len(set(found))
    assert {number for stream in streams for number in stream.acknowledged} <= set(found)


def _impressions(log: Log) -> int:
    return int((log.read_events().recommendation != 0).sum())


def test_what_may_be_tried_again_says_when(bare: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    away = [True]
    append = SQLiteLog.append_events

    def sometimes(self: SQLiteLog, *arguments: object, **options: object) -> object:
        if away[0]:
            raise StorageUnavailable("the database is away. Send it again.")
        return append(self, *arguments, **options)  # type: ignore[arg-type]

    log = bare.log()
    log.upsert_items(pl.DataFrame({"item_id": ["i1"]}))
    log.close()
    monkeypatch.setattr(SQLiteLog, "append_events", sometimes)
    event = {"event_type": "click", "user_id": "u", "item_id": "i1"}
    with running(bare) as client:
        refused = client.post("/v1/events", json=event)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert client.post("/v1/recommendations", json={"user_id": "u", "n": 1}).json()["items"]
        away[0] = False
        assert client.post("/v1/events", json=event).status_code == 200
    log = bare.log()
    wait_for(lambda: _impressions(log) == 1)  # of the answer that was given meanwhile
    log.close()
