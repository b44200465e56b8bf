"""The log and the catalogue in one SQLite file: nothing to install, several threads and processes, durable.

Writers take turns (a lock in the process, BEGIN IMMEDIATE between processes); readers never wait (WAL).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from upnext.errors import StorageError
from upnext.storage.encoding import CACHED_IDS, TABLE_OF, Codes, remember
from upnext.storage.event_lists import event_lists
from upnext.storage.frames import conform, loaded
from upnext.storage.log import (
    ITEM_SCHEMA,
    REQUIRED_ITEM,
    REQUIRED_USER,
    USER_SCHEMA,
    Appended,
    EventColumns,
    IdKind,
    Marks,
)
from upnext.storage.sqlite_checkpoints import Checkpoints
from upnext.storage.sqlite_schema import connect, explain, prepare
from upnext.storage.sqlite_write import Write
from upnext.storage.tables import refuse_unfinished
from upnext.types import Events

_CACHED_IDS = CACHED_IDS
_ITEMS_A_PART = 50_000
_NEVER = 2**62  # a revision that is never reached

# Two columns stand for five: what a row costs to read is its number of Python objects. Chunks of 256 stay in cache.
_READ = """
SELECT offset, (user << 32) | item, (surface << 32) | ((ifnull(position, -1) + 1) << 16) | type, happened_at,
  ifnull(received_at, happened_at), ifnull(value, 9e999), ifnull(recommendation, 0), ifnull(as_of, -1)
FROM events WHERE offset > ? ORDER BY offset LIMIT ?"""
_READ_CHUNK = 256
_MARKS = """
SELECT (SELECT value FROM meta WHERE name = 'revision'), (SELECT ifnull(max(code), -1) + 1 FROM event_types),
  (SELECT ifnull(max(code), -1) + 1 FROM surfaces)"""
_READ_DTYPES = (np.int64, np.int64, np.int64, np.int64, np.int64, np.float32, np.int64, np.int64)


class SQLiteLog:
    """``storage.log.Log`` in the file at ``path``, which is made when it does not exist."""

    def __init__(self, path: Path | str, unfinished: bool = False) -> None:
        """``unfinished`` opens also what a copy was begun into and not ended (``upnext.migrate``)."""
        self.path = Path(path)
        self._write_lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = threading.Event()
        self._checkpoints = Checkpoints(self.path, connect, self._write_lock)
        self._nothing: dict[str, pl.DataFrame] = {}  # a table's frame without rows
        self._codes: Codes = {kind: {} for kind in TABLE_OF}
        try:
            with self.connection() as db:
                prepare(db, self.path)
                if not unfinished:
                    refuse_unfinished(dict(db.execute("SELECT name, value FROM meta")), str(self.path))
        except BaseException:
            self.close()
            raise

    # -- events

    def append_events(self, events: pl.DataFrame | EventColumns, arriving: bool = False) -> Appended:
        lists = event_lists(events)
        if not lists["happened_at"]:
            return Appended(np.empty(0, np.int8))
        with self.transaction() as write:
            return Appended(write.append(lists, arriving))

    def read_events(self, after: int = -1, limit: int | None = None) -> Events:
        parts: list[Events] = []
        with self.connection() as db:
            cursor = db.execute(_READ, (after, -1 if limit is None else limit))
            while rows := cursor.fetchmany(_READ_CHUNK):
                columns = zip(zip(*rows, strict=True), _READ_DTYPES, strict=True)
                parts.append(_unpacked(*(np.fromiter(column, dtype, len(rows)) for column, dtype in columns)))
        if len(parts) == 1:
            return parts[0]
        return Events.concat(parts) if parts else Events.empty()

    def last_offset(self) -> int:
        with self.connection() as db:
            return int(db.execute("SELECT ifnull(max(offset), -1) FROM events").fetchone()[0])

    def marks(self) -> Marks:
        with self.connection() as db:
            return Marks(*db.execute(_MARKS).fetchone())

    # -- items and users

    def upsert_items(self, items: pl.DataFrame) -> int:
        frame = conform(items, ITEM_SCHEMA, REQUIRED_ITEM)
        with self.transaction() as write:
            if "vector" in frame.columns:
                write.check_vectors(frame["vector"])
            return write.upsert("item", frame)

    def delete_items(self, item_ids: Sequence[str]) -> int:
        with self.transaction() as write:
            return write.delete("item", item_ids)

    def read_items(self, after: int = 0) -> pl.DataFrame:
        parts = list(self.item_parts(after))
        return pl.concat(parts) if parts else self._read_table("items", ITEM_SCHEMA, _NEVER)

    def item_parts(self, after: int = 0) -> Iterator[pl.DataFrame]:
        with self.connection() as db:
            cursor = db.execute(_changed("items", ITEM_SCHEMA, after), (after,))  # one statement sees one moment
            while rows := cursor.fetchmany(_ITEMS_A_PART):
                yield _frame(ITEM_SCHEMA, rows)

    def identity(self) -> tuple[int, int]:
        with self.connection() as db:
            found = dict(db.execute("SELECT name, value FROM meta"))
            return int(found["identity"]), int(found["revision"])

    def upsert_users(self, users: pl.DataFrame) -> int:
        frame = conform(users, USER_SCHEMA, REQUIRED_USER)
        with self.transaction() as write:
            return write.upsert("user", frame)

    def delete_users(self, user_ids: Sequence[str]) -> int:
        with self.transaction() as write:
            return write.delete("user", user_ids)

    def read_users(self, after: int = 0) -> pl.DataFrame:
        return self._read_table("users", USER_SCHEMA, after)

    def ids(self, kind: IdKind, start: int = 0) -> list[str]:
        with self.connection() as db:
            rows = db.execute(f"SELECT id FROM {TABLE_OF[kind]} WHERE code >= ? ORDER BY code", (start,))
            return [row[0] for row in rows]

    def close(self) -> None:
        """Calls that are still running end first; later ones raise StorageError."""
        self._closed.set()
        self._checkpoints.close()
        self._close_idle()

    # -- connections

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one call: an idle one, or a new one. SQLite's errors become StorageError."""
        if self._closed.is_set():
            raise StorageError(f"{self.path}: the log was closed; open it again.")
        try:
            db = self._idle.pop() if self._idle else connect(self.path)
        except IndexError:  # another thread took the last one
            db = connect(self.path)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        try:
            yield db
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        finally:
            self._idle.append(db)
            if self._closed.is_set():
                self._close_idle()

    @contextmanager
    def transaction(self) -> Iterator[Write]:
        """All or nothing; what the ids were coded to is remembered only once it is on disk."""
        with self._write_lock, self.connection() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                write = Write(db, self._codes)
                before = db.total_changes
                yield write
                if write.changed:
                    db.execute("UPDATE meta SET value = ? WHERE name = 'revision'", (write.revision,))
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            self._checkpoints.wrote(db.total_changes - before)
            remember(self._codes, write.fresh, _CACHED_IDS)

    def _read_table(self, table: str, schema: Mapping[str, pl.DataType], after: int) -> pl.DataFrame:
        with self.connection() as db:
            rows = db.execute(_changed(table, schema, after), (after,)).fetchall()
        if not rows and table in self._nothing:  # the usual news, several times a second
            return self._nothing[table]
        frame = _frame(schema, rows)
        if not rows:
            self._nothing[table] = frame
        return frame


def _changed(table: str, schema: Mapping[str, pl.DataType], after: int) -> str:
    """Rows of a later revision, by code: all of them as they lie, few by their index, which SQLite would not choose."""
    names = [name if number else "id" for number, name in enumerate(schema)]
    through = f"INDEXED BY {table}_revision" if after > 0 else "NOT INDEXED"
    return f"SELECT {', '.join(names)}, code, deleted, revision FROM {table} {through} WHERE revision > ? ORDER BY code"


def _frame(schema: Mapping[str, pl.DataType], rows: Sequence[Sequence[object]]) -> pl.DataFrame:
    dtypes = {**schema, "code": pl.Int32(), "deleted": pl.Boolean(), "revision": pl.Int64()}
    columns = list(zip(*rows, strict=True)) or [()] * len(dtypes)
    return pl.DataFrame(
        [loaded(name, values, dtype) for (name, dtype), values in zip(dtypes.items(), columns, strict=True)]
    )


def _unpacked(*columns: NDArray[Any]) -> Events:
    offset, who, what, happened_at, received_at, value, recommendation, as_of = columns
    return Events(
        offset,
        (what & 0xFFFF).astype(np.int16),
        (who >> 32).astype(np.int32),
        (who & 0xFFFFFFFF).astype(np.int32),
        happened_at,
        received_at,
        np.where(np.isinf(value), np.float32(np.nan), value),
        ((what >> 16) & 0xFFFF).astype(np.int16) - np.int16(1),
        (what >> 32).astype(np.int16),
        recommendation,
        as_of,
    )
