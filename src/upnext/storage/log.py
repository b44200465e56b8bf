"""The log and the catalogue, whatever stores them. The log is the source of truth; all else is a view that tails it.

Frames at this edge hold external string ids; what is read back holds int codes (``ids`` translates).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import polars as pl

from upnext.types import Events, Int8

IdKind = Literal["user", "item", "surface", "event_type"]

ACCEPTED, DUPLICATE = 0, 1

# Events as plain columns: the names of EVENT_SCHEMA, all of one length, None for null. For the few rows of a request,
# a frame would cost more than all the rest of the write.
EventColumns = Mapping[str, Sequence[object]]

# What append_events, upsert_items and upsert_users take. All columns but those named in REQUIRED_* may be missing
# or null. Times are Unix milliseconds.
REQUIRED_EVENT = ("event_type", "user_id", "item_id", "happened_at")
REQUIRED_ITEM = ("item_id",)
REQUIRED_USER = ("user_id",)
EVENT_SCHEMA: dict[str, pl.DataType] = {
    "event_id": pl.String(),  # idempotency key; derived from the row's content where null
    "event_type": pl.String(),
    "user_id": pl.String(),
    "item_id": pl.String(),
    "happened_at": pl.Int64(),
    "received_at": pl.Int64(),  # null = happened_at (imported history)
    "value": pl.Float64(),
    "session_id": pl.String(),
    "recommendation_id": pl.String(),
    "position": pl.Int64(),
    "surface": pl.String(),  # null = "" (the default surface, code 0)
    "as_of": pl.Int64(),
    "context": pl.String(),  # JSON object
}
ITEM_SCHEMA: dict[str, pl.DataType] = {
    "item_id": pl.String(),
    "title": pl.String(),
    "author": pl.String(),
    "categories": pl.List(pl.String()),  # the first is the main one; genres and tags belong here
    "duration": pl.Float64(),  # seconds
    "published_at": pl.Int64(),
    "available": pl.Boolean(),  # null = true
    "vector": pl.List(pl.Float32()),  # supplied content vector; one length a home
    "attributes": pl.String(),  # JSON object of anything else
}
USER_SCHEMA: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "attributes": pl.String(),  # JSON object: demographics, plan, country...
    "blocked_authors": pl.List(pl.String()),
}


@dataclass(frozen=True, slots=True)
class Appended:
    """The fate of each row of an append, in its order: ACCEPTED or DUPLICATE, ``[N]``."""

    status: Int8

    @property
    def accepted(self) -> int:
        return int(np.count_nonzero(self.status == ACCEPTED))

    @property
    def duplicates(self) -> int:
        return int(np.count_nonzero(self.status == DUPLICATE))


@dataclass(frozen=True, slots=True)
class Marks:
    """How far names and rows have got, beside the events. Equal marks: nothing of it has changed in between."""

    revision: int  # the newest of any item or user
    event_types: int  # how many there are
    surfaces: int


class Log(Protocol):
    """Durable when a call returns. Safe to call from several threads and processes; one writes at a time.

    Every method raises StorageError, naming the database and the remedy, when the backend cannot answer.
    """

    def append_events(self, events: pl.DataFrame | EventColumns, arriving: bool = False) -> Appended:
        """Add events in the order given. A row whose ``event_id`` is known already is a DUPLICATE and adds nothing.

        A frame and plain columns are held to the same rules. All or nothing: on an error no row is in the log.
        Unknown user, item, surface and type names get codes. ``arriving`` events were received just now:
        ``received_at`` is raised to the newest event's where that is later, so that events of several processes are
        in the order of their arrival, as offsets are.
        """

    def read_events(self, after: int = -1, limit: int | None = None) -> Events:
        """Events with an offset above ``after``, in order. Offsets rise; they may have gaps."""

    def last_offset(self) -> int:
        """-1 when empty."""

    def marks(self) -> Marks:
        """Cheap, whatever the log holds: what tails it asks this before it reads items, users and names."""

    def upsert_items(self, items: pl.DataFrame) -> int:
        """Insert or change items, returning how many rows really changed something.

        A column that the frame lacks keeps its stored value; a null sets the column to unknown. Revives deleted items.
        """

    def delete_items(self, item_ids: Sequence[str]) -> int:
        """Mark items as deleted, returning how many were there. Their codes and events stay."""

    def read_items(self, after: int = 0) -> pl.DataFrame:
        """Items whose revision is above ``after``: ITEM_SCHEMA plus ``code``, ``deleted``, ``revision``, by code.

        Items known only from events have null columns and revision >= 1 too.
        """

    def item_parts(self, after: int = 0) -> Iterator[pl.DataFrame]:
        """The rows of ``read_items`` as of one moment, by code, in frames of bounded size; none if nothing changed."""

    def identity(self) -> tuple[int, int]:
        """A number that no other log has, and the latest revision of its items and users: what a copy belongs to."""

    def upsert_users(self, users: pl.DataFrame) -> int: ...

    def delete_users(self, user_ids: Sequence[str]) -> int: ...

    def read_users(self, after: int = 0) -> pl.DataFrame:
        """Users whose revision is above ``after``: USER_SCHEMA plus ``code``, ``deleted``, ``revision``, by code."""

    def ids(self, kind: IdKind, start: int = 0) -> list[str]:
        """The external ids with codes ``start, start + 1, ...``; surface 0 is the empty string."""

    def close(self) -> None: ...
