"""``storage.tables.Tables`` of a SQLite log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from upnext.storage.frames import loaded
from upnext.storage.sqlite import SQLiteLog
from upnext.storage.tables import ORDER, TABLES, Place, past


class SQLiteTables:
    def __init__(self, path: Path) -> None:
        self.shown = str(path)
        self._log = SQLiteLog(path, unfinished=True)

    def notes(self) -> dict[str, int]:
        with self._log.connection() as db:
            return dict(db.execute("SELECT name, value FROM meta"))

    def count(self, table: str) -> int:
        with self._log.connection() as db:
            return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def last(self, table: str) -> Place | None:
        order = ORDER[table]
        query = f"SELECT {', '.join(order)} FROM {table} ORDER BY {', '.join(f'{name} DESC' for name in order)} LIMIT 1"
        with self._log.connection() as db:
            row = db.execute(query).fetchone()
        return None if row is None else tuple(row)

    def part(self, table: str, after: Place | None, limit: int) -> pl.DataFrame:
        schema = TABLES[table]
        with self._log.connection() as db:
            query = f"SELECT {', '.join(schema)} FROM {table}{past(table, after, '')} LIMIT {limit}"
            rows = db.execute(query).fetchall()
        columns = list(zip(*rows, strict=True)) or [()] * len(schema)
        return pl.DataFrame([loaded(name, values, schema[name]) for name, values in zip(schema, columns, strict=True)])

    def write(self, table: str, rows: pl.DataFrame, notes: Mapping[str, int]) -> None:
        slots = ", ".join("?" * len(rows.columns))
        with self._log.transaction() as write:
            insert = f"INSERT OR REPLACE INTO {table} ({', '.join(rows.columns)}) VALUES ({slots})"
            write.db.executemany(insert, rows.iter_rows())
            write.db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", notes.items())

    def close(self) -> None:
        self._log.close()
