"""One write transaction of the SQLite log: ids to codes, events with their keys, rows stamped with a revision."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice

import numpy as np
import polars as pl

from upnext.errors import DataError
from upnext.storage.frames import stored, vector_size
from upnext.storage.keys import FEW, content_keys, given_keys, recommendation_hash, text_hashes
from upnext.storage.log import ACCEPTED, DUPLICATE, IdKind
from upnext.types import Int8, Int32, Int64

TABLE_OF: Mapping[IdKind, str] = {"user": "users", "item": "items", "surface": "surfaces", "event_type": "event_types"}
_MAX_SMALL_CODE = 32_767  # surfaces and event types are int16 in Events
_ROWS_A_STATEMENT = 100


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

    def append(self, frame: pl.DataFrame, arriving: bool) -> Int8:
        """Insert the events whose keys are new; the status of each, ``[N]``."""
        first = self.scalar("SELECT ifnull(max(offset), -1) + 1 FROM events")
        if arriving and first > 0:
            newest = self.scalar("SELECT ifnull(received_at, happened_at) FROM events WHERE offset = ?", first - 1)
            received_at = frame["received_at"].fill_null(frame["happened_at"])
            if received_at.min() < newest:  # type: ignore[operator]
                frame = frame.with_columns(received_at.clip(lower_bound=newest))
        columns = _event_columns(frame, self, first)
        before = self.db.total_changes
        for statement, rows in _inserts(columns, len(frame)):
            self.db.executemany(statement, rows)
        if self.db.total_changes - before == len(frame):
            return np.full(len(frame), ACCEPTED, np.int8)
        status = np.full(len(frame), DUPLICATE, np.int8)
        kept = [row[0] - first for row in self.db.execute("SELECT offset FROM events WHERE offset >= ?", (first,))]
        status[np.array(kept, np.int64)] = ACCEPTED
        return status

    def encode(self, kind: IdKind, ids: pl.Series) -> Int32:
        """The codes of the ids, ``[N]``; unknown ids get the next codes in the order of their first row."""
        names = (ids.unique(maintain_order=True) if len(ids) > FEW else ids).to_list()
        known, fresh = self._known[kind], self.fresh.setdefault(kind, {})
        missing = list(dict.fromkeys(name for name in names if name not in known and name not in fresh))
        fresh.update(self._stored_codes(kind, missing))
        added = [name for name in missing if name not in fresh]
        if added:
            fresh.update(self._add(kind, added))
        codes = [known[name] if name in known else fresh[name] for name in names]
        if len(names) == len(ids):
            return np.array(codes, np.int32)
        return ids.replace_strict(names, pl.Series(codes, dtype=pl.Int32), return_dtype=pl.Int32).to_numpy()

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
        codes = self.encode(kind, frame[id_column]).tolist()
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


def _event_columns(frame: pl.DataFrame, write: Write, first: int) -> dict[str, Sequence[object]]:
    """The columns to insert, as lists; those that are null throughout are left out."""
    kind = write.encode("event_type", frame["event_type"])
    user, item = write.encode("user", frame["user_id"]), write.encode("item", frame["item_id"])
    surface = write.encode("surface", frame["surface"].fill_null(""))
    happened_at = frame["happened_at"].to_numpy()
    value = frame["value"].set(frame["value"].is_finite().not_(), None)
    recommendation = recommendation_hash(frame["recommendation_id"])
    content = (
        kind.astype(np.int64),
        (user.astype(np.int64) << 32) | item,
        surface.astype(np.int64),
        (value.cast(pl.Float32).fill_null(np.nan).to_numpy() + 0.0).astype(np.float64).view(np.int64),  # + 0: one zero
        recommendation,
        frame["position"].fill_null(-1).to_numpy(),
        text_hashes(frame["session_id"]),
        text_hashes(frame["context"]),
    )
    high, low = _keys(frame["event_id"], happened_at, content)
    received_at = frame["received_at"].set(frame["received_at"] == frame["happened_at"], None)
    columns: dict[str, Sequence[object]] = {
        "offset": range(first, first + len(frame)),
        "key_high": high,
        "key_low": low,
        "type": kind.tolist(),
        "user": user.tolist(),
        "item": item.tolist(),
        "happened_at": happened_at.tolist(),
        "surface": surface.tolist(),
    }
    if recommendation.any():
        columns["recommendation"] = recommendation.tolist()
    optional = [
        value,
        received_at,
        *frame.select("position", "as_of", "event_id", "session_id", "recommendation_id", "context"),
    ]
    columns.update({column.name: column.to_list() for column in optional if column.null_count() < len(column)})
    return columns


def _keys(event_id: pl.Series, happened_at: Int64, content: Sequence[Int64]) -> tuple[list[int], list[int]]:
    """The idempotency keys: of the event_id where one was given, else of the content."""
    given = np.flatnonzero(event_id.is_not_null().to_numpy())
    if len(given) == len(event_id):
        return given_keys(event_id.to_list())
    high, low = (column.tolist() for column in content_keys(happened_at, content))
    for row, given_high, given_low in zip(given.tolist(), *given_keys(event_id.drop_nulls().to_list()), strict=True):
        high[row], low[row] = given_high, given_low
    return high, low
