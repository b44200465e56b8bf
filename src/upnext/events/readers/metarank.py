"""Metarank's event files: rankings, interactions, item and user fields mixed in one file of JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from upnext.events.batches import Batch
from upnext.events.readers.json_lines import Row, read_json_lines
from upnext.events.schema import LINE, Kind

_KINDS: dict[str, Kind] = {"item": "items", "user": "users", "ranking": "events", "interaction": "events"}
_KIND = "_kind"
_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "items": ("item_id", "title", "categories", "published_at", "attributes"),
    "users": ("user_id", "attributes"),
    "events": (
        *("event_id", "event_type", "user_id", "item_id", "happened_at", "value", "session_id", "recommendation_id"),
        *("items", "context"),
    ),
}


def is_metarank(row: Row) -> bool:
    return (row.get("event") in _KINDS and "timestamp" in row and "fields" in row) or row.get("event") == "ranking"


def read_metarank(path: Path, file: str) -> Iterator[Batch]:
    """Batches of each kind, items first; a line whose ``event`` is none of the four is taken for an interaction."""
    for frame, rejects, units in read_json_lines(path, file, _canonical):
        for kind in ("items", "users", "events"):
            columns = [name for name in (*_COLUMNS[kind], LINE) if name in frame.columns]
            rows = frame.filter(pl.col(_KIND) == kind) if _KIND in frame.columns else frame
            yield Batch(kind, _with_required(kind, rows.select(columns)), file, rejects, units=units)
            rejects, units = rejects.clear(), 0


def _canonical(row: Row) -> Row:
    kind = _KINDS.get(str(row.get("event")), "events")
    fields = _fields(row)
    if kind == "items":
        title, genres = fields.pop("title", None), fields.pop("genres", fields.pop("categories", None))
        known = {"item_id": row.get("item"), "title": title, "categories": genres}
        return {_KIND: kind, **known, "attributes": fields or None}  # the timestamp is of the record, not of the item
    if kind == "users":
        return {_KIND: kind, "user_id": row.get("user"), "attributes": fields or None}
    ranking = row.get("event") == "ranking"
    return {
        _KIND: kind,
        "event_id": row.get("id"),
        "event_type": "impression" if ranking else row.get("type"),
        "user_id": row.get("user") or row.get("session"),
        "item_id": row.get("item"),
        "happened_at": row.get("timestamp"),
        "session_id": row.get("session"),
        "recommendation_id": row.get("id") if ranking else row.get("ranking"),
        "items": row.get("items") if ranking else None,
        "context": fields or None,
    }


def _fields(row: Row) -> dict[str, Any]:
    fields = row.get("fields") or []
    pairs = [(entry.get("name"), entry.get("value")) for entry in fields if isinstance(entry, dict)]
    return {str(name): value for name, value in pairs if name is not None and value is not None}


def _with_required(kind: Kind, frame: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in _COLUMNS[kind] if name not in frame.columns]
    return frame.with_columns(pl.lit(None, pl.String).alias(name) for name in missing)
