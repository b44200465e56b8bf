"""Frames at the edge of a log: conformed to the schema before they are written, typed again when read."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from upnext.errors import DataError

MAX_POSITION = 32_767  # positions are int16 in Events


def conform(frame: pl.DataFrame, schema: Mapping[str, pl.DataType], required: Sequence[str]) -> pl.DataFrame:
    """The frame's own columns in the schema's order and types; DataError where that cannot be."""
    for name in frame.columns:
        if name not in schema:
            near = difflib.get_close_matches(name, list(schema), n=1)
            raise DataError(
                f"unknown column {name!r}; "
                + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(schema)}")
            )
    for name in required:
        if name not in frame.columns:
            raise DataError(f"column {name!r} is missing; found are {', '.join(frame.columns) or 'none'}")
        if frame[name].null_count():
            row = int(np.argmax(frame[name].is_null().to_numpy()))
            raise DataError(f"column {name!r} is null in row {row}; it must have a value")
    present = [frame[name] for name in schema if name in frame.columns]
    try:  # column by column: for a single event, a query plan would take longer than all the rest
        return pl.DataFrame([c if c.dtype == schema[c.name] else c.cast(schema[c.name]) for c in present])
    except pl.exceptions.PolarsError as error:
        raise DataError(f"a column does not fit its type: {error}") from error


def conform_events(events: pl.DataFrame, schema: Mapping[str, pl.DataType], required: Sequence[str]) -> pl.DataFrame:
    """Every column of the schema, nulls where the frame lacks it; positions checked against their range."""
    frame = conform(events, schema, required)
    frame = pl.DataFrame(
        [
            frame[name] if name in frame.columns else pl.Series(name, [None], dtype).new_from_index(0, len(frame))
            for name, dtype in schema.items()
        ]
    )
    position = frame["position"]
    if position.null_count() < len(frame) and (outside := position.is_between(0, MAX_POSITION).not_()).any():
        value = frame["position"].filter(outside.fill_null(False))[0]
        raise DataError(f"column 'position' holds {value}; positions are 0 to {MAX_POSITION}, null where unknown")
    return frame


def stored(column: pl.Series) -> list[object]:
    """A column as what a row store holds: lists of strings as JSON, vectors as little-endian float32 bytes."""
    if column.dtype == pl.List(pl.Float32):
        return list(_vector_bytes(column))
    if column.dtype == pl.List(pl.String):
        lists = column.to_list()
        return [None if entry is None else json.dumps(entry, ensure_ascii=False) for entry in lists]
    return column.to_list()


def loaded(name: str, values: Sequence[object], dtype: pl.DataType) -> pl.Series:
    """The inverse of ``stored``."""
    if dtype == pl.List(pl.Float32):
        return _loaded_vectors(name, values)
    if dtype == pl.List(pl.String):
        return pl.Series(name, values, dtype=pl.String).str.json_decode(pl.List(pl.String))
    if dtype == pl.Boolean():
        return pl.Series(name, values, dtype=pl.Int8).cast(pl.Boolean)
    return pl.Series(name, values, dtype=dtype)


def vector_size(vectors: pl.Series) -> int | None:
    """The one length of the vectors, None where there are none; DataError when they differ."""
    sizes = vectors.drop_nulls().list.len().unique().sort().to_list()
    if len(sizes) > 1:
        raise DataError(f"column 'vector' holds vectors of {sizes[0]} and of {sizes[-1]} numbers; all need one length")
    return sizes[0] if sizes else None


def _vector_bytes(vectors: pl.Series) -> list[bytes | None]:
    return [None if row is None else row.to_numpy().astype("<f4").tobytes() for row in vectors]


def _loaded_vectors(name: str, values: Sequence[object]) -> pl.Series:
    present = [value for value in values if isinstance(value, bytes)]
    if not present:
        return pl.Series(name, [None] * len(values), dtype=pl.List(pl.Float32))
    matrix = np.frombuffer(b"".join(present), "<f4").reshape(len(present), -1)
    rows = np.cumsum([value is not None for value in values]) - 1
    places = [None if value is None else row for value, row in zip(values, rows.tolist(), strict=True)]
    return pl.Series(name, matrix).cast(pl.List(pl.Float32)).gather(pl.Series(places, dtype=pl.UInt32))
