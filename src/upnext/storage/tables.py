"""A log as bare tables, for whoever copies it whole: every column as it is stored, with its codes and offsets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import polars as pl

from upnext.errors import StorageError

_NAMES: dict[str, pl.DataType] = {"code": pl.Int32(), "id": pl.String()}
_ROWS: dict[str, pl.DataType] = {**_NAMES, "deleted": pl.Boolean(), "revision": pl.Int64()}

# In the order in which they are copied: what an event refers to was there before it, so events come first.
TABLES: Mapping[str, Mapping[str, pl.DataType]] = {
    "events": {
        "offset": pl.Int64(),
        "key_high": pl.Int64(),
        "key_low": pl.Int64(),
        "happened_at": pl.Int64(),
        "received_at": pl.Int64(),
        "value": pl.Float64(),
        "recommendation": pl.Int64(),
        "as_of": pl.Int64(),
        "user": pl.Int32(),
        "item": pl.Int32(),
        "type": pl.Int16(),
        "surface": pl.Int16(),
        "position": pl.Int16(),
        "event_id": pl.String(),
        "session_id": pl.String(),
        "recommendation_id": pl.String(),
        "context": pl.String(),
    },
    "event_types": _NAMES,
    "surfaces": _NAMES,
    "items": {
        **_ROWS,
        "title": pl.String(),
        "author": pl.String(),
        "categories": pl.String(),  # JSON
        "duration": pl.Float64(),
        "published_at": pl.Int64(),
        "available": pl.Boolean(),
        "vector": pl.Binary(),  # little-endian float32
        "attributes": pl.String(),
    },
    "users": {**_ROWS, "attributes": pl.String(), "blocked_authors": pl.String()},
}

# What orders the rows of a table, so that news come last: a changed row has a later revision.
ORDER: Mapping[str, tuple[str, ...]] = {
    "events": ("offset",),
    "event_types": ("code",),
    "surfaces": ("code",),
    "items": ("revision", "code"),
    "users": ("revision", "code"),
}

Place = tuple[int, ...]  # the values of a row's ORDER


class Tables(Protocol):
    """Raises StorageError as a log does. Opens also what a copy was begun into, which no log does."""

    shown: str  # a name for people, without secrets

    def notes(self) -> dict[str, int]:
        """The numbers beside the tables: identity, revision, vector_size..."""

    def count(self, table: str) -> int: ...

    def last(self, table: str) -> Place | None:
        """Where the last row is; None where there is none."""

    def part(self, table: str, after: Place | None, limit: int) -> pl.DataFrame:
        """At most ``limit`` rows after a place, in ORDER: columns of TABLES."""

    def write(self, table: str, rows: pl.DataFrame, notes: Mapping[str, int]) -> None:
        """Insert rows, or replace those of the same code, and set the notes: all or nothing."""

    def close(self) -> None: ...


def past(table: str, after: Place | None, quote: str) -> str:
    """The condition for rows after a place, and their order, in SQL."""
    names = ", ".join(f"{quote}{name}{quote}" for name in ORDER[table])
    place = "" if after is None else f" WHERE ({names}) > ({', '.join(map(str, after))})"
    return f"{place} ORDER BY {names}"


def place_of(table: str, row: Mapping[str, int]) -> Place:
    return tuple(int(row[name]) for name in ORDER[table])


def refuse_unfinished(notes: Mapping[str, int], shown: str) -> None:
    """Raises StorageError where a copy was begun and not ended: half a log would pass for a whole one."""
    if notes.get("unfinished"):
        raise StorageError(
            f"{shown}: a copy into it has not ended. The same `upnext migrate FROM TO` again goes on with it."
        )
