"""One write transaction of the SQLite log: ids to codes, events with their keys, rows stamped with a revision."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice

import numpy as np
import polars as pl

from upnext.errors import DataError
from upnext.storage.encoding import TABLE_OF, Encoder, next_codes
from upnext.storage.event_columns import event_columns, received_at
from upnext.storage.event_lists import EventLists, all_null
from upnext.storage.frames import stored, vector_size
from upnext.storage.log import ACCEPTED, DUPLICATE, IdKind
from upnext.types import Int8

_ROWS_A_STATEMENT = 100


class Write(Encoder):
    """One write transaction: ids to codes, and rows stamped with the revision that it will publish."""

    def __init__(self, db: sqlite3.Connection, codes: Mapping[IdKind, dict[str, int]]) -> None:
        super().__init__(codes)
        self.db = db
        self.revision = self.scalar("SELECT value + 1 FROM meta WHERE name = 'revision'")
        self.changed = False

    def scalar(self, query: str, *values: object) -> int:
        return int(self.db.execute(query, values).fetchone()[0])

    def append(self, events: EventLists, arriving: bool) -> Int8:
        """Insert the events whose keys are new; the status of each, ``[N]``."""
        query = "SELECT offset, ifnull(received_at, happened_at) FROM events ORDER BY offset DESC LIMIT 1"
        newest = self.db.execute(query).fetchone() or (-1, None)
        first, count = newest[0] + 1, len(events["happened_at"])
        received = received_at(events, newest[1] if arriving else None)
        columns: dict[str, Sequence[object]] = {
            "offset": range(first, first + count),
            **event_columns(events, self.encode),
            **({} if all_null(received) else {"received_at": received}),
        }
        before = self.db.total_changes
        for statement, rows in _inserts(columns, count):
            self.db.executemany(statement, rows)
        if self.db.total_changes - before == count:
            return np.full(count, ACCEPTED, np.int8)
        status = np.full(count, DUPLICATE, np.int8)
        kept = [row[0] - first for row in self.db.execute("SELECT offset FROM events WHERE offset >= ?", (first,))]
        status[np.array(kept, np.int64)] = ACCEPTED
        return status

    def stored_codes(self, kind: IdKind, names: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for start in range(0, len(names), 500):
            part = names[start : start + 500]
            slots = ", ".join("?" * len(part))
            found.update(self.db.execute(f"SELECT id, code FROM {TABLE_OF[kind]} WHERE id IN ({slots})", part))
        return found

    def add(self, kind: IdKind, names: Sequence[str]) -> dict[str, int]:
        table = TABLE_OF[kind]
        codes = next_codes(kind, self.scalar(f"SELECT ifnull(max(code), -1) + 1 FROM {table}"), names)
        if kind in ("item", "user"):
            self.changed = True
            rows = ((code, name, self.revision) for name, code in codes.items())
            self.db.executemany(f"INSERT INTO {table} (code, id, revision) VALUES (?, ?, ?)", rows)
            return codes
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
