"""Events at the edge of a log as lists, whether they came as a frame or as plain columns.

The rules are those of ``frames``. Columns whose values are of the schema's own types already, as a request's are once
it was validated, keep them as they are; whatever else comes is made a frame first, and that is held to the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from upnext.errors import DataError
from upnext.storage.frames import MAX_POSITION, conform_events
from upnext.storage.log import EVENT_SCHEMA, REQUIRED_EVENT, EventColumns

EventLists = Mapping[str, list[Any]]  # every column of EVENT_SCHEMA, all of one length, None for null

_MOST = {name: MAX_POSITION if name == "position" else 2**63 - 1 for name in EVENT_SCHEMA}
_LEAST = {name: 0 if name == "position" else -(2**63) for name in EVENT_SCHEMA}
_PLAIN: Mapping[pl.DataType, type] = {pl.String(): str, pl.Int64(): int, pl.Float64(): float}
_TYPE: Mapping[str, type] = {name: _PLAIN[dtype] for name, dtype in EVENT_SCHEMA.items()}
_NULL = type(None)


def all_null(column: list[Any]) -> bool:
    return column.count(None) == len(column)


def event_lists(events: pl.DataFrame | EventColumns) -> EventLists:
    """Every column of EVENT_SCHEMA; DataError, naming the column, where the events cannot be made that."""
    if not isinstance(events, pl.DataFrame):
        if _fits(events):
            return _completed(events)
        events = _framed(events)
    frame = conform_events(events, EVENT_SCHEMA, REQUIRED_EVENT)
    return {column.name: column.to_list() for column in frame}


def _fits(columns: EventColumns) -> bool:
    """Whether no rule would refuse or change anything. False is no verdict: the frame's rules decide then."""
    if not columns.keys() <= _TYPE.keys() or not columns.keys() >= set(REQUIRED_EVENT):
        return False
    return len({len(column) for column in columns.values()}) == 1 and all(
        _is_plain(name, column) for name, column in columns.items()
    )


def _is_plain(name: str, column: Sequence[Any]) -> bool:
    types = set(map(type, column))
    if _NULL in types:
        if name in REQUIRED_EVENT:
            return False
        types.discard(_NULL)
    if not types:
        return True
    if types != {_TYPE[name]}:
        return False
    if _TYPE[name] is int:
        present = [value for value in column if value is not None]
        return _LEAST[name] <= min(present) and max(present) <= _MOST[name]
    return True


def _completed(columns: EventColumns) -> EventLists:
    nothing = [None] * len(columns["happened_at"])
    return {name: list(columns[name]) if name in columns else nothing for name in EVENT_SCHEMA}


def _framed(columns: EventColumns) -> pl.DataFrame:
    try:
        return pl.DataFrame(dict(columns))
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"the columns of the events cannot be read: {error}") from error
