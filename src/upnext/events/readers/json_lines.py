"""JSON lines -> frames: one object a line, its keys the columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from upnext.errors import DataError
from upnext.events.readers.delimited import Reject, text_blocks
from upnext.events.schema import LINE
from upnext.events.validate import reject_rows

Row = dict[str, Any]


def read_json_lines(
    path: Path, file: str, change: Callable[[Row], Row] | None = None
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, int]]:
    """Frames with LINE, their rejects, and the bytes read. ``change`` may rewrite each object first."""
    for lines in text_blocks(path, file):
        rows, numbers, rejects = [], [], list(lines.rejects)
        for number, text in zip(lines.number, lines.text, strict=True):
            row = _object(number, text, rejects)
            if row is not None:
                rows.append(change(row) if change else row)
                numbers.append(number)
        names = list(dict.fromkeys(name for row in rows for name in row if name != LINE))
        columns = [_series(name, [row.get(name) for row in rows]) for name in names]
        frame = pl.DataFrame([*columns, pl.Series(LINE, numbers, dtype=pl.Int64)])
        yield frame, reject_rows(file, rejects), lines.bytes


def first_object(path: Path, file: str) -> Row:
    """The first line that is an object, to learn what the file holds."""
    for lines in text_blocks(path, file):
        for number, text in zip(lines.number, lines.text, strict=True):
            if text.lstrip().startswith("["):
                raise DataError(f"{file}: is one JSON list; expected one object a line (jq -c '.[]' makes that)")
            row = _object(number, text, [])
            if row is not None:
                return row
    raise DataError(f"{file}: has no line that is a JSON object; expected one a line")


def _object(number: int, text: str, rejects: list[Reject]) -> Row | None:
    try:
        row = json.loads(text)
        if "\\u" in text:
            json.dumps(row, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        rejects.append((number, "", text, f"is not JSON ({error})"))
        return None
    if isinstance(row, dict):
        return row
    rejects.append((number, "", text, "is not a JSON object"))
    return None


def _series(name: str, values: list[Any]) -> pl.Series:
    """Objects stay JSON text; where lines disagree about the type, everything becomes text."""
    values = [json.dumps(value, ensure_ascii=False) if _has_object(value) else value for value in values]
    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        return pl.Series(name, texts, dtype=pl.String)


def _has_object(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(entry, dict) for entry in value))
