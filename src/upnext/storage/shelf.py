"""Short-lived texts that several processes share: written behind, read by key, forgotten after a while."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from pathlib import Path

_LOG = logging.getLogger("upnext.storage")

MAX_WAITING = 10_000
SWEEP_EVERY = 1_000  # writes
POLL_S = 0.01

_TABLE = "CREATE TABLE IF NOT EXISTS shelf (key TEXT PRIMARY KEY, put_at REAL, text TEXT)"


class Shelf:
    """Nothing here is worth a sync: what a crash takes is said to be unknown."""

    def __init__(self, path: Path, max_age_s: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._max_age = max_age_s
        self._db = _connect(path)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(_TABLE)
        self._reading = threading.Lock()
        self._waiting: queue.Queue[tuple[str, float, str] | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._write, args=(_connect(path),), name="shelf", daemon=True)
        self._thread.start()

    def put(self, key: str, text: str) -> None:
        """Returns at once; the last text of a key counts."""
        try:
            self._waiting.put_nowait((key, time.time(), text))
        except queue.Full:
            _LOG.warning("too much waits to be written: %s is forgotten", key)

    def find(self, key: str, wait_s: float = 0.0) -> str | None:
        """None where there is none, also after ``wait_s`` for one that may be on its way to the disk."""
        until = time.monotonic() + wait_s
        while True:
            with self._reading:
                query = "SELECT text FROM shelf WHERE key = ? AND put_at > ?"
                row = self._db.execute(query, (key, time.time() - self._max_age)).fetchone()
            if row is not None:
                return str(row[0])
            if time.monotonic() >= until:
                return None
            time.sleep(POLL_S)

    def close(self) -> None:
        """What waits is written first."""
        self._waiting.put(None)
        self._thread.join()
        self._db.close()

    def _write(self, db: sqlite3.Connection) -> None:
        written = 0
        while (row := self._waiting.get()) is not None:
            try:
                db.execute("INSERT OR REPLACE INTO shelf VALUES (?, ?, ?)", row)
                written += 1
                if written % SWEEP_EVERY == 0:
                    db.execute("DELETE FROM shelf WHERE put_at < ?", (time.time() - self._max_age,))
            except sqlite3.Error:  # nobody waits for it
                _LOG.exception("%s could not be written", row[0])
        db.close()


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, timeout=10, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    return db
