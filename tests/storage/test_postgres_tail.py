"""Whoever tails the log meets every event once and in order, however late a transaction commits."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.postgres import schema_of
from upnext.storage import postgres_write
from upnext.storage.postgres import PostgresLog
from upnext.testing.logs import events
from upnext.testing.postgres_server import Server

WRITERS, BATCHES, ROWS = 4, 15, 20


def rows(writer: int, batch: int) -> pl.DataFrame:
    """Each writer brings names of its own and some that others bring too, so that codes are given under way."""
    start = batch * ROWS
    return events(*(("click", f"u{writer}", f"i{n % 97}-{batch % 3}", start + n) for n in range(ROWS)))


def test_a_tail_skips_nothing_and_sees_nothing_twice(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dawdle = random.Random(0)
    publish = postgres_write.Write.publish

    def late(write: postgres_write.Write) -> None:
        """Rows are written and offsets given, and the commit takes its time: by then others have come."""
        publish(write)
        time.sleep(dawdle.choice((0.0, 0.0, 0.01, 0.03)))

    monkeypatch.setattr(postgres_write.Write, "publish", late)
    rest = postgres.rest(schema_of(tmp_path))
    logs = [PostgresLog(rest) for _ in range(WRITERS)]  # one a process: no lock but the database's own
    tails = [_Tail(PostgresLog(rest)) for _ in range(2)]

    def write(number: int) -> None:
        for batch in range(BATCHES):
            assert logs[number].append_events(rows(number, batch), arriving=True).accepted == ROWS

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = logs[0].read_events()
    assert len(whole) == WRITERS * BATCHES * ROWS
    assert np.array_equal(whole.offset, np.arange(len(whole)))
    assert np.all(np.diff(whole.received_at) >= 0)
    for tail in tails:
        tail.stop()
        assert tail.rounds > 20
        assert tail.met == whole.offset.tolist()
        assert tail.unnamed == 0
        tail.log.close()
    for log in logs:
        log.close()


class _Tail(threading.Thread):
    """Reads the news again and again, as a server does."""

    def __init__(self, log: PostgresLog) -> None:
        super().__init__(daemon=True)
        self.log, self.met, self.rounds, self.unnamed = log, list[int](), 0, 0
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        last = False
        while not last:
            last = self._ended.is_set()  # once more after the writers' end
            news = self.log.read_events(self.met[-1] if self.met else -1)
            names = self.log.ids("item")  # read later: it covers what the events refer to
            self.unnamed += int((news.item >= len(names)).sum())
            self.met += news.offset.tolist()
            self.rounds += 1

    def stop(self) -> None:
        self._ended.set()
        self.join()
