"""The log and the catalogue in PostgreSQL: several machines, one truth.

Writers take turns (a lock in the process, an advisory lock between processes); readers never wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import polars as pl

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
from upnext.storage.postgres_client import Pool
from upnext.storage.postgres_schema import ONE_MOMENT, READ_WRITE, arrays, escaped, prepare, unescaped
from upnext.storage.postgres_url import parse
from upnext.storage.postgres_write import Write
from upnext.storage.tables import refuse_unfinished
from upnext.types import Events

_EVENTS_A_PART, _ITEMS_A_PART, _FEW = 500_000, 50_000, 1_000
_EVENT = """
SELECT "offset", type, "user", item, happened_at, coalesce(received_at, happened_at) AS received_at,
  coalesce(value, 'NaN') AS value, coalesce(position, (-1)::smallint) AS position, surface,
  coalesce(recommendation, 0) AS recommendation, coalesce(as_of, -1) AS as_of FROM events"""
_MARKS = """
SELECT (SELECT value FROM meta WHERE name = 'revision') AS revision,
  (SELECT coalesce(max(code), -1) + 1 FROM event_types) AS event_types,
  (SELECT coalesce(max(code), -1) + 1 FROM surfaces) AS surfaces"""


class PostgresLog:
    """``storage.log.Log`` in the database at ``postgresql://`` + ``rest``; its tables are made where there are none."""

    def __init__(self, rest: str, unfinished: bool = False) -> None:
        """``unfinished`` opens also what a copy was begun into and not ended (``upnext.migrate``)."""
        self.pool = Pool(parse(rest))
        self._write_lock = threading.Lock()
        self._codes: Codes = {kind: {} for kind in TABLE_OF}
        try:
            prepare(self.pool)
            notes = dict(self.pool.rows("SELECT name, value FROM meta").iter_rows())
            self._identity = notes["identity"]
            if not unfinished:
                refuse_unfinished(notes, self.pool.address.shown)
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
        left = 2**63 if limit is None else limit
        while True:
            size = min(left, _EVENTS_A_PART)  # so that the server never sorts the whole log
            news = f'{_EVENT} WHERE "offset" > {after} ORDER BY "offset" LIMIT {size}'
            rows = self.pool.rows(news, copy=size > _FEW)
            parts.append(_events(rows))
            if len(rows) < size or len(rows) == left:
                return parts[0] if len(parts) == 1 else Events.concat(parts)
            after, left = int(rows["offset"][-1]), left - size

    def user_events(self, user_id: str, limit: int = 100) -> Events:
        """The latest events of one user, oldest first; none of a user nobody has heard of. By an index of their own."""
        rows = self.pool.rows(
            f'{_EVENT} WHERE "user" = (SELECT code FROM users WHERE id = $1) ORDER BY "offset" DESC LIMIT {limit}',
            pl.DataFrame([escaped(pl.Series("id", [user_id], pl.String))]),
        )
        return _events(rows.reverse())

    def last_offset(self) -> int:
        return int(self.pool.rows('SELECT coalesce(max("offset"), -1) AS last FROM events')["last"][0])

    def marks(self) -> Marks:
        return Marks(*self.pool.rows(_MARKS).row(0))

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
        return pl.concat(parts) if parts else self._read_nothing("items", ITEM_SCHEMA)

    def item_parts(self, after: int = 0) -> Iterator[pl.DataFrame]:
        columns = _columns(ITEM_SCHEMA)
        with self.pool.transaction(ONE_MOMENT) as session:
            if after <= 0:  # all of them: codes have no gaps
                end = session.rows("SELECT coalesce(max(code), -1) + 1 AS n FROM items")["n"][0]
                for start in range(0, end, _ITEMS_A_PART):
                    where = f"code >= {start} AND code < {start + _ITEMS_A_PART}"
                    rows = session.rows(f"SELECT {columns} FROM items WHERE {where} ORDER BY code", copy=True)
                    yield _frame(ITEM_SCHEMA, rows)
                return
            changed = session.rows(f"SELECT code FROM items WHERE revision > {after}", copy=True)["code"].sort()
            for start in range(0, len(changed), _ITEMS_A_PART):
                some = arrays([changed[start : start + _ITEMS_A_PART]])
                query = f"SELECT {columns} FROM items WHERE code = ANY($1::integer[]) ORDER BY code"
                yield _frame(ITEM_SCHEMA, session.rows(query, some))

    def identity(self) -> tuple[int, int]:
        found = dict(self.pool.rows("SELECT name, value FROM meta").iter_rows())
        return int(found["identity"]), int(found["revision"])

    def upsert_users(self, users: pl.DataFrame) -> int:
        frame = conform(users, USER_SCHEMA, REQUIRED_USER)
        with self.transaction() as write:
            return write.upsert("user", frame)

    def delete_users(self, user_ids: Sequence[str]) -> int:
        with self.transaction() as write:
            return write.delete("user", user_ids)

    def read_users(self, after: int = 0) -> pl.DataFrame:
        query = f"SELECT {_columns(USER_SCHEMA)} FROM users WHERE revision > {after} ORDER BY code"
        return _frame(USER_SCHEMA, self.pool.rows(query, copy=True))

    def ids(self, kind: IdKind, start: int = 0) -> list[str]:
        query = f"SELECT id FROM {TABLE_OF[kind]} WHERE code >= {start} ORDER BY code"
        return unescaped(self.pool.rows(query, copy=True)["id"]).to_list()

    def close(self) -> None:
        """Calls that are still running end first; later ones raise StorageError."""
        self.pool.close()

    @contextmanager
    def transaction(self) -> Iterator[Write]:
        """All or nothing; what the ids were coded to is remembered only once it is durable."""
        with self._write_lock:
            with self.pool.transaction(READ_WRITE) as session:
                write = Write(session, self._codes, self._identity)
                yield write
                write.publish()
            remember(self._codes, write.fresh, CACHED_IDS)

    def _read_nothing(self, table: str, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
        return _frame(schema, self.pool.rows(f"SELECT {_columns(schema)} FROM {table} WHERE false"))


def _columns(schema: Mapping[str, pl.DataType]) -> str:
    own, *names = schema
    return ", ".join([f"id AS {own}", *names, "code", "deleted", "revision"])


def _frame(schema: Mapping[str, pl.DataType], rows: pl.DataFrame) -> pl.DataFrame:
    dtypes = {**schema, "code": pl.Int32(), "deleted": pl.Boolean(), "revision": pl.Int64()}
    return pl.DataFrame([_loaded(rows[name], dtype) for name, dtype in dtypes.items()])


def _loaded(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    if column.dtype == pl.String:
        column = unescaped(column)
    if dtype == pl.List(pl.String):
        return column.str.json_decode(dtype)
    if dtype == pl.List(pl.Float32):
        return loaded(column.name, column.to_list(), dtype)
    return column.cast(dtype)


def _events(rows: pl.DataFrame) -> Events:
    value = rows["value"].cast(pl.Float32).to_numpy(writable=True)
    value[np.isinf(value)] = np.nan
    columns = {name: rows[name].to_numpy(writable=True) for name in rows.columns if name != "value"}
    return Events(**columns, value=value)
