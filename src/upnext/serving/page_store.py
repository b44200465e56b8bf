"""Chains of pages on disk, so that any worker, and the next process after a restart, can continue any of them."""

from __future__ import annotations

import json
import logging
import queue
import sqlite3
import threading
import time
from dataclasses import asdict
from pathlib import Path

from upnext.serving.pages import MAX_AGE_S, Chain
from upnext.serving.question import Question

_LOG = logging.getLogger("upnext.serving")

FILE = "var/pages.db"  # in the home
MAX_WAITING = 10_000
SWEEP_EVERY = 1_000  # writes
WAIT_S = 0.2  # for another worker to write what it has just answered

_TABLE = (
    "CREATE TABLE IF NOT EXISTS pages (id TEXT PRIMARY KEY, made_at REAL, question TEXT, shown TEXT, length INTEGER)"
)


class PageStore:
    """``put`` returns at once. What is lost in a crash is at most a page that nobody can continue."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False, timeout=10, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(_TABLE)
        self._reading = threading.Lock()
        self._waiting: queue.Queue[tuple[object, ...] | None] = queue.Queue(MAX_WAITING)
        self._written = 0
        self._thread = threading.Thread(target=self._run, args=(path,), name="pages", daemon=True)
        self._thread.start()

    def put(self, recommendation_id: str, chain: Chain) -> None:
        """Remember the chain as it is now under the id of its latest page."""
        question = json.dumps(asdict(chain.question))
        try:
            self._waiting.put_nowait((recommendation_id, time.time(), question, json.dumps(chain.shown), chain.length))
        except queue.Full:
            _LOG.warning("too many pages wait to be written: %s cannot be continued elsewhere", recommendation_id)

    def find(self, recommendation_id: str) -> Chain | None:
        """Waits a moment for an id that may be on its way to the disk; None when there is none."""
        until = time.monotonic() + WAIT_S
        while True:
            with self._reading:
                row = self._db.execute(
                    "SELECT question, shown, length FROM pages WHERE id = ? AND made_at > ?",
                    (recommendation_id, time.time() - MAX_AGE_S),
                ).fetchone()
            if row is not None:
                return Chain(Question(**json.loads(row[0])), json.loads(row[1]), int(row[2]))
            if time.monotonic() > until:
                return None
            time.sleep(0.01)

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()
        self._db.close()

    def _run(self, path: Path) -> None:
        db = sqlite3.connect(path, timeout=10, isolation_level=None)
        db.execute("PRAGMA synchronous = OFF")
        while (row := self._waiting.get()) is not None:
            try:
                db.execute("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?)", row)
                self._written += 1
                if self._written % SWEEP_EVERY == 0:
                    db.execute("DELETE FROM pages WHERE made_at < ?", (time.time() - MAX_AGE_S,))
            except sqlite3.Error:  # nobody waits for it; a page that is not there answers 404
                _LOG.exception("a page could not be written")
        db.close()
