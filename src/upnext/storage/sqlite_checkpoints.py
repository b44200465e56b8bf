"""Committed pages go from SQLite's write-ahead log into the database beside the writers, not within their commits.

By itself SQLite does that in the commit that makes the log 1,000 pages long: one event in some two hundred would wait
for all of them to be written and synced, twice. Durable is what was committed either way.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

_LOG = logging.getLogger("upnext.storage")

EVERY_S = 4.0
PAGES_A_COMMIT = 4  # beside one a row: where the ids are random, so are the index's pages
MANY_PAGES = 4_000  # due at once
TOO_MANY_PAGES = 8_000  # writers wait for the rest, or the file would grow with every commit, which costs each of them


class Checkpoints:
    """A thread of its own from the first ``wrote`` to ``close``."""

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection], writing: threading.Lock) -> None:
        """Whoever holds ``writing`` keeps this process's writers waiting."""
        self._path, self._connect, self._writing = path, connect, writing
        self._pages = 0  # about as many as were committed since the last time
        self._due, self._ended = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def wrote(self, rows: int) -> None:
        """Tell of a commit; only who is writing calls it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
            self._thread.start()
        self._pages += PAGES_A_COMMIT + rows
        if self._pages >= MANY_PAGES:
            self._due.set()

    def close(self) -> None:
        """Returns when nothing is under way."""
        self._ended.set()
        self._due.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(self._connect(self._path)) as db:
            while not self._ended.is_set():
                self._due.wait(EVERY_S)
                self._due.clear()
                if self._pages and not self._ended.is_set():
                    self._pages = 0
                    try:
                        self._checkpoint(db)
                    except sqlite3.Error:  # the next round may succeed; in the end commits do it themselves
                        _LOG.exception("%s: the write-ahead log could not be emptied", self._path)

    def _checkpoint(self, db: sqlite3.Connection) -> None:
        """Once for most of it, once more for what was committed meanwhile: a log is started anew only when empty."""
        for _ in range(2):
            pages, done = _moved(db)
            if pages <= done:
                return
        if pages > TOO_MANY_PAGES:
            with self._writing:
                _moved(db)


def _moved(db: sqlite3.Connection) -> tuple[int, int]:
    """Pages in the write-ahead log, and how many of them are in the database by now. Waits for nobody."""
    _, pages, done = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages), int(done)
