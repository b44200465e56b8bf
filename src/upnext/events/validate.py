"""Whole columns are checked at once; a bad row goes aside with the first reason, and is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from upnext.errors import DataError
from upnext.events.columns import (
    Parsed,
    boolean,
    identifier,
    integer,
    json_object,
    known_name,
    number,
    positive,
    text,
    texts,
    vector,
)
from upnext.events.impressions import explode_items
from upnext.events.schema import LINE, REJECT_SCHEMA, REQUIRED, Kind, nearest
from upnext.events.times import time
from upnext.storage.frames import MAX_POSITION
from upnext.types import Bool

_SHOWN_CHARACTERS = 200  # of a rejected value

_ITEM_RULES: Mapping[str, Callable[[pl.Series], Parsed]] = {
    "item_id": identifier,
    "title": text,
    "author": identifier,
    "categories": texts,
    "duration": positive,
    "published_at": time,
    "available": boolean,
    "attributes": json_object,
}
_USER_RULES: Mapping[str, Callable[[pl.Series], Parsed]] = {
    "user_id": identifier,
    "attributes": json_object,
    "blocked_authors": texts,
}
_EVENT_RULES: Mapping[str, Callable[[pl.Series], Parsed]] = {
    "event_id": identifier,
    "event_type": identifier,
    "user_id": identifier,
    "item_id": identifier,
    "happened_at": time,
    "received_at": time,
    "value": number,
    "session_id": identifier,
    "recommendation_id": identifier,
    "position": integer(0, MAX_POSITION),
    "surface": identifier,
    "as_of": integer(-1, 2**53),
    "context": json_object,
}


@dataclass(frozen=True, slots=True)
class Checked:
    """``good`` has canonical columns and types; ``rejects`` the columns of REJECT_SCHEMA."""

    good: pl.DataFrame
    rejects: pl.DataFrame


def validate(
    kind: Kind, frame: pl.DataFrame, file: str, types: Iterable[str], vector_size: int | None = None
) -> Checked:
    """Check a frame of canonical columns of any type (and LINE); events with ``items`` become one an item.

    Raises DataError when a required column is missing or a column cannot hold what it should.
    """
    if kind == "events":
        frame = explode_items(frame)
    rules = _rules(kind, list(types), vector_size)
    for name in REQUIRED[kind]:
        if name not in frame.columns:
            found = ", ".join(column for column in frame.columns if column != LINE)
            raise DataError(f"{file}: column {name!r} is missing; found are {found or 'none'}")
    first = np.full(len(frame), -1, np.int32)
    problems: list[tuple[str, pl.Series, str | pl.Series]] = []
    columns = {}
    for name in (name for name in rules if name in frame.columns):
        try:
            parsed = rules[name](_typed(frame[name]))
        except DataError as error:
            raise DataError(f"{file}: {error}") from None
        columns[name] = parsed.values.alias(name)
        if name in REQUIRED[kind]:
            parsed.reject(parsed.values.is_null(), "is missing")
        for rows, reason in parsed.problems:
            first[(first < 0) & rows.to_numpy()] = len(problems)
            problems.append((name, rows, reason))
    good = pl.DataFrame(columns, height=len(frame))
    if not problems:
        return Checked(good, pl.DataFrame(schema=REJECT_SCHEMA))
    rejects = [_rejects(frame, file, first == number, *problem) for number, problem in enumerate(problems)]
    return Checked(good.filter(first < 0), pl.concat(rejects).sort("line", maintain_order=True))


def reject_rows(file: str, rows: Iterable[tuple[int, str, str, str]]) -> pl.DataFrame:
    """Rejects of (line, column, value, reason): for readers, whose rows never became columns."""
    cut = [(file, line, column, value[:_SHOWN_CHARACTERS], reason) for line, column, value, reason in rows]
    return pl.DataFrame(cut, schema=REJECT_SCHEMA, orient="row")


def _rules(kind: Kind, types: list[str], vector_size: int | None) -> dict[str, Callable[[pl.Series], Parsed]]:
    if kind == "items":
        return {**_ITEM_RULES, "vector": vector(vector_size)}
    if kind == "users":
        return dict(_USER_RULES)
    known = known_name(types, lambda name: f"is no known event type{nearest(name, types)}")
    return {**_EVENT_RULES, "event_type": known}


def _typed(column: pl.Series) -> pl.Series:
    """A column of nothing but nulls has no type of its own; text fits every rule."""
    return column.cast(pl.String) if column.dtype == pl.Null else column


def _rejects(
    frame: pl.DataFrame, file: str, rows: Bool, column: str, _: pl.Series, reason: str | pl.Series
) -> pl.DataFrame:
    bad = frame.filter(rows)
    lines = bad[LINE].cast(pl.Int64) if LINE in bad.columns else pl.Series([None] * len(bad), dtype=pl.Int64)
    shown = [None if value is None else str(value)[:_SHOWN_CHARACTERS] for value in bad[column].to_list()]
    reasons = reason.filter(pl.Series(rows)) if isinstance(reason, pl.Series) else [reason] * len(bad)
    columns = {
        "file": [file] * len(bad),
        "line": lines,
        "column": [column] * len(bad),
        "value": shown,
        "reason": reasons,
    }
    return pl.DataFrame(columns, schema=REJECT_SCHEMA)
