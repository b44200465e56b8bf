"""``storage.tables.Tables`` of a PostgreSQL log."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from upnext.storage.postgres import PostgresLog
from upnext.storage.postgres_schema import arrays, unescaped, unnest
from upnext.storage.tables import ORDER, TABLES, Place, past, place_of


class PostgresTables:
    def __init__(self, rest: str) -> None:
        self._log = PostgresLog(rest, unfinished=True)
        self.shown = self._log.pool.address.shown

    def notes(self) -> dict[str, int]:
        return dict(self._log.pool.rows("SELECT name, value FROM meta").iter_rows())

    def count(self, table: str) -> int:
        return int(self._log.pool.rows(f"SELECT count(*) AS n FROM {table}")["n"][0])

    def last(self, table: str) -> Place | None:
        order = [f'"{name}"' for name in ORDER[table]]
        latest = ", ".join(f"{name} DESC" for name in order)
        rows = self._log.pool.rows(f"SELECT {', '.join(order)} FROM {table} ORDER BY {latest} LIMIT 1")
        return place_of(table, rows.row(0, named=True)) if len(rows) else None

    def part(self, table: str, after: Place | None, limit: int) -> pl.DataFrame:
        names = ", ".join(f'"{name}"' for name in TABLES[table])
        past_it = past(table, after, '"')
        rows = self._log.pool.rows(f"SELECT {names} FROM {table}{past_it} LIMIT {limit}", copy=True)
        return rows.with_columns(unescaped(column) for column in rows if column.dtype == pl.String)

    def write(self, table: str, rows: pl.DataFrame, notes: Mapping[str, int]) -> None:
        columns = rows.get_columns()
        names = [f'"{name}"' for name in rows.columns]
        key, *others = names
        changes = ", ".join(f"{name} = excluded.{name}" for name in others)
        insert = (
            f"INSERT INTO {table} ({', '.join(names)}) SELECT * FROM {unnest(columns)} "
            f"ON CONFLICT ({key}) DO UPDATE SET {changes}"
        )
        set_notes = "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        meta = [pl.Series("name", list(notes), pl.String), pl.Series("value", list(notes.values()), pl.Int64)]
        with self._log.transaction() as write:
            write.take_turn()
            write.session.rows(insert, arrays(columns))
            write.session.rows(f"INSERT INTO meta SELECT * FROM {unnest(meta)} {set_notes}", arrays(meta))

    def close(self) -> None:
        self._log.close()
