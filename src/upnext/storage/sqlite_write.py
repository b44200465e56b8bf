"""One write transaction of the SQLite log: ids to codes, events with their keys, rows stamped with a revision."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice

import numpy as np
import polars as pl

from upnext.errors import DataError
from upnext.storage.event_lists import EventLists, all_null
from upnext.storage.frames import stored, vector_size
from upnext.storage.keys import content_keys, given_keys, recommendation_hash, text_hashes
from upnext.storage.log import ACCEPTED, DUPLICATE, IdKind
from upnext.types import Float64, Int8, Int32, Int64

TABLE_OF: Mapping[IdKind, str] = {"user": "users", "item": "items", "surface": "surfaces", "event_type": "event_types"}
_MAX_SMALL_CODE = 32_767  # surfaces and event types are int16 in Events
_ROWS_A_STATEMENT = 100
_AS_GIVEN = ("position", "as_of", "event_id", "session_id", "recommendation_id", "context")


class Write:
    """One write transaction: ids to codes, and rows stamped with the revision that it will publish."""

    def __init__(self, db: sqlite3.Connection, codes: Mapping[IdKind, dict[str, int]]) -> None:
        self.db = db
        self.revision = self.scalar("SELECT value + 1 FROM meta WHERE name = 'revision'")
        self.changed = False
        self.fresh: dict[IdKind, dict[str, int]] = {}
        self._known = codes

    def scalar(self, query: str, *values: object) -> int:
        return int(self.db.execute(query, values).fetchone()[0])

    def append(self, events: EventLists, arriving: bool) -> Int8:
        """Insert the events whose keys are new; the status of each, ``[N]``."""
        query = "SELECT offset, ifnull(received_at, happened_at) FROM events ORDER BY offset DESC LIMIT 1"
        newest = self.db.execute(query).fetchone() or (-1, None)
        first, count = newest[0] + 1, len(events["happened_at"])
        received_at = _received_at(events, newest[1] if arriving else None)
        columns = _event_columns(events, received_at, self, first)
        before = self.db.total_changes
        for statement, rows in _inserts(columns, count):
            self.db.executemany(statement, rows)
        if self.db.total_changes - before == count:
            return np.full(count, ACCEPTED, np.int8)
        status = np.full(count, DUPLICATE, np.int8)
        kept = [row[0] - first for row in self.db.execute("SELECT offset FROM events WHERE offset >= ?", (first,))]
        status[np.array(kept, np.int64)] = ACCEPTED
        return status

    def encode(self, kind: IdKind, names: Sequence[str]) -> Int32:
        """The codes of the ids, ``[N]``; unknown ids get the next codes in the order of their first row."""
        known, fresh, distinct = self._known[kind], self.fresh.setdefault(kind, {}), dict.fromkeys(names, -1)
        missing = [name for name in distinct if name not in known and name not in fresh]
        if missing:
            fresh.update(self._stored_codes(kind, missing))
            if added := [name for name in missing if name not in fresh]:
                fresh.update(self._add(kind, added))
        for name in distinct:
            distinct[name] = known[name] if name in known else fresh[name]
        return np.fromiter(map(distinct.__getitem__, names), np.int32, len(names))

    def _stored_codes(self, kind: IdKind, names: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for start in range(0, len(names), 500):
            part = names[start : start + 500]
            slots = ", ".join("?" * len(part))
            found.update(self.db.execute(f"SELECT id, code FROM {TABLE_OF[kind]} WHERE id IN ({slots})", part))
        return found

    def _add(self, kind: IdKind, names: Sequence[str]) -> dict[str, int]:
        table = TABLE_OF[kind]
        first = self.scalar(f"SELECT ifnull(max(code), -1) + 1 FROM {table}")
        codes = {name: first + number for number, name in enumerate(names)}
        if kind in ("item", "user"):
            self.changed = True
            rows = ((code, name, self.revision) for name, code in codes.items())
            self.db.executemany(f"INSERT INTO {table} (code, id, revision) VALUES (?, ?, ?)", rows)
            return codes
        if first + len(names) - 1 > _MAX_SMALL_CODE:
            raise DataError(
                f"{names[-1]!r} would be {table} number {_MAX_SMALL_CODE + 2}; give them fewer different names"
            )
        self.db.executemany(f"INSERT INTO {table} (id, code) VALUES (?, ?)", codes.items())
        return codes

    def upsert(self, kind: IdKind, frame: pl.DataFrame) -> int:
        """Write the rows that differ from what is stored; of several rows with one id the last counts."""
        table, (id_column, *names) = TABLE_OF[kind], frame.columns
        frame = frame.unique(id_column, keep="last", maintain_order=True)
        codes = self.encode(kind, frame[id_column].to_list()).tolist()
        numbered = [f"{name} = ?{number}" for number, name in enumerate(names, 2)]
        differs = [f"{name} IS NOT ?{number}" for number, name in enumerate(names, 2)]
        self.db.executemany(
            f"UPDATE {table} SET {', '.join([*numbered, 'deleted = 0', f'revision = {self.revision}'])} "
            f"WHERE code = ?1 AND ({' OR '.join([*differs, 'deleted'])})",
            zip(codes, *(stored(frame[name]) for name in names), strict=True),
        )
        return self._count_changed(table)

    def delete(self, kind: IdKind, ids: Sequence[str]) -> int:
        table = TABLE_OF[kind]
        self.db.executemany(
            f"UPDATE {table} SET deleted = 1, revision = {self.revision} WHERE id = ? AND NOT deleted",
            ((id_,) for id_ in ids),
        )
        return self._count_changed(table)

    def check_vectors(self, vectors: pl.Series) -> None:
        """All vectors of a home have the length of the first one."""
        size = vector_size(vectors)
        if size is None:
            return
        self.db.execute("INSERT INTO meta VALUES ('vector_size', ?) ON CONFLICT DO NOTHING", (size,))
        settled = self.scalar("SELECT value FROM meta WHERE name = 'vector_size'")
        if settled != size:
            raise DataError(
                f"column 'vector' holds vectors of {size} numbers; this log's have {settled}. Make them anew."
            )

    def _count_changed(self, table: str) -> int:
        changed = self.scalar(f"SELECT count(*) FROM {table} WHERE revision = ?", self.revision)
        self.changed |= changed > 0
        return changed


def _inserts(columns: Mapping[str, Sequence[object]], count: int) -> Iterator[tuple[str, Iterator[tuple[object, ...]]]]:
    """Statements of many rows each, then the rest: a statement a row costs nearly twice the time."""
    values = chain.from_iterable(zip(*columns.values(), strict=True))
    for size, times in ((_ROWS_A_STATEMENT, count // _ROWS_A_STATEMENT), (count % _ROWS_A_STATEMENT, 1)):
        if size and times:
            row = f"({', '.join('?' * len(columns))})"
            yield (
                f"INSERT INTO events ({', '.join(columns)}) VALUES {', '.join([row] * size)} "
                "ON CONFLICT (key_high, key_low) DO NOTHING",
                (tuple(islice(values, size * len(columns))) for _ in range(times)),
            )


def _received_at(events: EventLists, least: int | None) -> list[int | None]:
    """When each event was received, no earlier than ``least``; None where that is when it happened."""
    given, happened_at = events["received_at"], events["happened_at"]
    if least is None and (given == happened_at or all_null(given)):  # as in an import
        return [None] * len(given)
    received = [happened if at is None else at for at, happened in zip(given, happened_at, strict=True)]
    if least is not None:
        received = [max(at, least) for at in received]
    return [None if at == happened else at for at, happened in zip(received, happened_at, strict=True)]


def _surfaces(names: list[str | None]) -> list[str]:
    return [""] * len(names) if all_null(names) else [name or "" for name in names]


def _event_columns(
    events: EventLists, received_at: list[int | None], write: Write, first: int
) -> dict[str, Sequence[object]]:
    """The columns to insert; those that are null throughout are left out."""
    value = np.array(events["value"], np.float64)  # null is NaN
    value[~np.isfinite(value)] = np.nan
    known = np.count_nonzero(~np.isnan(value)) == len(value) - events["value"].count(None)
    codes: dict[str, Int64] = {
        "type": write.encode("event_type", events["event_type"]).astype(np.int64),
        "user": write.encode("user", events["user_id"]).astype(np.int64),
        "item": write.encode("item", events["item_id"]).astype(np.int64),
        "surface": write.encode("surface", _surfaces(events["surface"])).astype(np.int64),
        "recommendation": recommendation_hash(events["recommendation_id"]),
    }
    high, low = _keys(events, value, codes)
    if not codes["recommendation"].any():
        del codes["recommendation"]
    columns: dict[str, Sequence[object]] = {
        "offset": range(first, first + len(value)),
        "key_high": high,
        "key_low": low,
        "happened_at": events["happened_at"],
        **{name: column.tolist() for name, column in codes.items()},
    }
    optional = {
        "value": events["value"] if known else [None if number != number else number for number in value.tolist()],
        "received_at": received_at,
        **{name: events[name] for name in _AS_GIVEN},
    }
    columns.update({name: column for name, column in optional.items() if not all_null(column)})
    return columns


def _keys(events: EventLists, value: Float64, codes: Mapping[str, Int64]) -> tuple[list[int], list[int]]:
    """The idempotency keys: of the event_id where one was given, else of the content."""
    event_id, position = events["event_id"], events["position"]
    given = [] if all_null(event_id) else [row for row, name in enumerate(event_id) if name is not None]
    if len(given) == len(value):
        return given_keys(event_id)
    with np.errstate(over="ignore"):  # what is too large for 32 bits is infinite there
        single = value.astype(np.float32) + np.float32(0)  # + 0: one zero
    content = (
        codes["type"],
        (codes["user"] << 32) | codes["item"],
        codes["surface"],
        single.astype(np.float64).view(np.int64),
        codes["recommendation"],
        np.nan_to_num(np.array(position, np.float64), nan=-1).astype(np.int64),  # small numbers: exact in float64
        text_hashes(events["session_id"]),
        text_hashes(events["context"]),
    )
    high, low = (column.tolist() for column in content_keys(np.array(events["happened_at"], np.int64), content))
    for row, given_high, given_low in zip(given, *given_keys([event_id[row] for row in given]), strict=True):
        high[row], low[row] = given_high, given_low
    return high, low
