"""One write transaction of the PostgreSQL log. Writers of all processes take turns, from before an offset is given
until the commit is visible: so offsets are in the order of commits, and whoever tails them can miss none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from upnext.errors import DataError
from upnext.storage.encoding import TABLE_OF, Encoder, next_codes
from upnext.storage.event_columns import event_columns, received_at
from upnext.storage.event_lists import EventLists, all_null
from upnext.storage.frames import stored, vector_size
from upnext.storage.log import ACCEPTED, DUPLICATE, IdKind
from upnext.storage.postgres_client import Session
from upnext.storage.postgres_schema import arrays, unescaped, unnest
from upnext.types import Int8

_ROWS_A_STATEMENT = 20_000
_NEWEST = """
SELECT value + 1 AS revision, "offset", received_at FROM meta LEFT JOIN (
  SELECT "offset", coalesce(received_at, happened_at) AS received_at FROM events ORDER BY "offset" DESC LIMIT 1
) newest ON true WHERE name = 'revision'"""
_INT32, _INT16 = ("user", "item"), ("type", "surface", "position")
_TEXT = ("event_id", "session_id", "recommendation_id", "context")


class Write(Encoder):
    """What needs no turn (looking up ids, making keys) is done before ``take_turn``: others write meanwhile."""

    def __init__(self, session: Session, codes: Mapping[IdKind, dict[str, int]], turn: int) -> None:
        """``turn`` is the number of the log's lock: its identity."""
        super().__init__(codes)
        self.changed = False
        self.revision = 0  # known from the turn on, as the newest event is
        self.session, self._turn = session, turn
        self._newest: tuple[int, int | None] | None = None

    def take_turn(self) -> tuple[int, int | None]:
        """Wait for the other writers; offset and ``received_at`` of the newest event, -1 and None where there is none.

        The lock is let go by the end of the transaction, after its commit is visible. The newest event is looked up
        by a statement of its own: one that waited would still see what was there when it began to wait.
        """
        if self._newest is None:
            self.session.rows(f"SELECT pg_advisory_xact_lock({self._turn})::text")
            self.revision, offset, received = self.session.rows(_NEWEST).row(0)
            self._newest = -1 if offset is None else offset, received
        return self._newest

    def append(self, events: EventLists, arriving: bool) -> Int8:
        """Insert the events whose keys are new; the status of each, ``[N]``."""
        columns = event_columns(events, self.encode)
        newest, latest = self.take_turn()
        first, count = newest + 1, len(events["happened_at"])
        received = received_at(events, latest if arriving else None)
        if not all_null(received):
            columns["received_at"] = received
        columns["offset"] = range(first, first + count)
        series = [pl.Series(name, values, _dtype(name)) for name, values in columns.items()]
        statement = (
            f"INSERT INTO events ({_names(series)}) SELECT * FROM {unnest(series)} "
            'ON CONFLICT (key_high, key_low) DO NOTHING RETURNING "offset"'
        )
        status = np.full(count, DUPLICATE, np.int8)
        for start in range(0, count, _ROWS_A_STATEMENT):
            part = arrays([column[start : start + _ROWS_A_STATEMENT] for column in series])
            status[self.session.rows(statement, part)["offset"].to_numpy() - first] = ACCEPTED
        return status

    def stored_codes(self, kind: IdKind, names: Sequence[str]) -> dict[str, int]:
        wanted = [pl.Series("id", names, pl.String)]
        query = f"SELECT id, code FROM {unnest(wanted)} AS wanted (id) JOIN {TABLE_OF[kind]} USING (id)"
        found = self.session.rows(query, arrays(wanted))
        return dict(zip(unescaped(found["id"]).to_list(), found["code"].to_list(), strict=True))

    def add(self, kind: IdKind, names: Sequence[str]) -> dict[str, int]:
        self.take_turn()
        found = self.stored_codes(kind, names)  # another process may have been quicker
        new = [name for name in names if name not in found]
        if not new:
            return found
        table = TABLE_OF[kind]
        first = int(self.session.rows(f"SELECT coalesce(max(code), -1) + 1 AS first FROM {table}")["first"][0])
        codes = next_codes(kind, first, new)
        rows = [pl.Series("code", codes.values(), pl.Int32), pl.Series("id", new, pl.String)]
        stamped = kind in ("item", "user")
        self.changed |= stamped
        self.session.rows(
            f"INSERT INTO {table} (code, id{', revision' if stamped else ''}) "
            f"SELECT *{f', {self.revision}' if stamped else ''} FROM {unnest(rows)}",
            arrays(rows),
        )
        return found | codes

    def upsert(self, kind: IdKind, frame: pl.DataFrame) -> int:
        """Write the rows that differ from what is stored; of several rows with one id the last counts."""
        self.take_turn()
        table, (id_column, *names) = TABLE_OF[kind], frame.columns
        frame = frame.unique(id_column, keep="last", maintain_order=True)
        codes = pl.Series("code", self.encode(kind, frame[id_column].to_list()))
        columns = [codes, *(_stored(frame[name]) for name in names)]
        sets = [*(f"{name} = given.{name}" for name in names), "deleted = false", f"revision = {self.revision}"]
        differs = [*(f"{table}.{name} IS DISTINCT FROM given.{name}" for name in names), f"{table}.deleted"]
        statement = (
            f"UPDATE {table} SET {', '.join(sets)} FROM {unnest(columns)} AS given ({_names(columns)}) "
            f"WHERE {table}.code = given.code AND ({' OR '.join(differs)})"
        )
        for start in range(0, len(codes), _ROWS_A_STATEMENT):
            part = [column[start : start + _ROWS_A_STATEMENT] for column in columns]
            self.session.rows(statement, arrays(part))
        return self._count_changed(table)

    def delete(self, kind: IdKind, ids: Sequence[str]) -> int:
        self.take_turn()
        table, gone = TABLE_OF[kind], [pl.Series("id", ids, pl.String)]
        self.session.rows(
            f"UPDATE {table} SET deleted = true, revision = {self.revision} FROM {unnest(gone)} AS gone (id) "
            f"WHERE {table}.id = gone.id AND NOT deleted",
            arrays(gone),
        )
        return self._count_changed(table)

    def check_vectors(self, vectors: pl.Series) -> None:
        """All vectors of a home have the length of the first one."""
        size = vector_size(vectors)
        if size is None:
            return
        self.take_turn()
        self.session.rows(f"INSERT INTO meta VALUES ('vector_size', {size}) ON CONFLICT DO NOTHING")
        settled = self.session.rows("SELECT value FROM meta WHERE name = 'vector_size'")["value"][0]
        if settled != size:
            raise DataError(
                f"column 'vector' holds vectors of {size} numbers; this log's have {settled}. Make them anew."
            )

    def publish(self) -> None:
        """The last statement of the transaction."""
        if self.changed:
            self.session.rows(f"UPDATE meta SET value = {self.revision} WHERE name = 'revision'")

    def _count_changed(self, table: str) -> int:
        changed = int(self.session.rows(f"SELECT count(*) AS n FROM {table} WHERE revision = {self.revision}")["n"][0])
        self.changed |= changed > 0
        return changed


def _dtype(name: str) -> pl.DataType:
    if name in _INT32:
        return pl.Int32()
    if name in _INT16:
        return pl.Int16()
    if name in _TEXT:
        return pl.String()
    return pl.Float64() if name == "value" else pl.Int64()


def _stored(column: pl.Series) -> pl.Series:
    as_stored = {pl.List(pl.String): pl.String(), pl.List(pl.Float32): pl.Binary()}
    dtype = as_stored.get(column.dtype)  # type: ignore[call-overload]
    return column if dtype is None else pl.Series(column.name, stored(column), dtype)


def _names(columns: Sequence[pl.Series]) -> str:
    return ", ".join(f'"{column.name}"' for column in columns)
