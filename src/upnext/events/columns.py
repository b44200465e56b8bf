"""Columns as they come -> typed columns, and which rows could not be: one function a kind of content."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from upnext.errors import DataError

MAX_ID = 512  # characters
_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(slots=True)
class Parsed:
    """Typed values, null where there was nothing or nothing usable, and what was wrong with which rows."""

    values: pl.Series
    problems: list[tuple[pl.Series, str | pl.Series]] = field(default_factory=list)  # (rows, reason or reason a row)

    def reject(self, rows: pl.Series, reason: str | pl.Series) -> Parsed:
        rows = rows.fill_null(False)
        if rows.any():
            self.problems.append((rows, reason))
        return self


def text(raw: pl.Series) -> Parsed:
    """Any text; an empty one is none. Numbers become their digits, whole floats without a fraction."""
    if raw.dtype.is_float():
        whole = bool((raw.drop_nulls() == raw.drop_nulls().round()).all()) and bool(raw.drop_nulls().is_finite().all())
        raw = raw.cast(pl.Int64, strict=False) if whole else raw
    if raw.dtype.is_nested():
        raise DataError(f"column {raw.name!r} holds {raw.dtype}; expected text or numbers")
    values = raw.cast(pl.String, strict=False)
    parsed = Parsed(values.set(values == "", None))
    return parsed.reject(values.is_null() & raw.is_not_null(), "is not UTF-8")


def identifier(raw: pl.Series) -> Parsed:
    """Text that is not blank, of at most 512 characters."""
    parsed = text(raw)
    values = parsed.values
    parsed.reject(values.str.strip_chars() == "", "is blank")
    too_long = values.str.len_bytes() > MAX_ID
    if too_long.any():
        parsed.reject(values.str.len_chars() > MAX_ID, f"is longer than {MAX_ID} characters")
    return parsed


def known_name(names: Sequence[str], reason: Callable[[str], str]) -> Callable[[pl.Series], Parsed]:
    """Text that is one of ``names``; ``reason`` explains another."""

    def parse(raw: pl.Series) -> Parsed:
        parsed = text(raw)
        unknown = parsed.values.is_in(list(names)).not_()
        if unknown.any():
            wrong = parsed.values.filter(unknown.fill_null(False)).unique()
            explained = pl.Series([reason(name) for name in wrong], dtype=pl.String)
            reasons = parsed.values.replace_strict(wrong, explained, default=None, return_dtype=pl.String)
            parsed.reject(unknown, reasons)
        return parsed

    return parse


def number(raw: pl.Series) -> Parsed:
    """A finite number that fits 32-bit floats."""
    present = raw.is_not_null()
    if raw.dtype == pl.String:
        raw = raw.str.strip_chars()
        present &= raw != ""
    elif raw.dtype.is_nested() or raw.dtype.is_temporal():
        raise DataError(f"column {raw.name!r} holds {raw.dtype}; expected numbers")
    values = raw.cast(pl.Float64, strict=False)
    parsed = Parsed(values).reject(values.is_null() & present, "is not a number")
    parsed.reject(values.is_finite().not_(), "is not finite")
    return parsed.reject(values.abs() > _LARGEST, "is too large")


def positive(raw: pl.Series) -> Parsed:
    parsed = number(raw)
    return parsed.reject(parsed.values <= 0, "is not above 0")


def integer(least: int, most: int) -> Callable[[pl.Series], Parsed]:
    """A whole number from ``least`` to ``most``."""

    def parse(raw: pl.Series) -> Parsed:
        parsed = number(raw)
        values = parsed.values
        parsed.reject(values != values.floor(), "is not a whole number")
        parsed.reject(values < least, f"is below {least}")
        parsed.reject(values > most, f"is above {most}")
        return Parsed(values.cast(pl.Int64, strict=False), parsed.problems)

    return parse


def boolean(raw: pl.Series) -> Parsed:
    if raw.dtype == pl.Boolean:
        return Parsed(raw)
    values = text(raw).values.str.strip_chars().str.to_lowercase()
    meant = values.replace_strict(
        [*_TRUE, *_FALSE], [True] * len(_TRUE) + [False] * len(_FALSE), default=None, return_dtype=pl.Boolean
    )
    return Parsed(meant).reject(meant.is_null() & values.is_not_null(), "is neither true nor false")


def texts(raw: pl.Series) -> Parsed:
    """A list of texts, or one text with ``|`` between them, or one that is a JSON list."""
    if isinstance(raw.dtype, pl.List | pl.Array):
        lists = raw.cast(pl.List(pl.String), strict=False)
        return Parsed(lists.list.eval(pl.element().filter(pl.element() != "")))
    values = text(raw).values
    is_json = values.str.starts_with("[").fill_null(False)
    split = values.str.split("|").list.eval(pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != ""))
    if not is_json.any():
        return Parsed(split)
    decoded = [_text_list(value) if json_row else None for value, json_row in zip(values, is_json, strict=True)]
    lists = pl.Series(raw.name, decoded, dtype=pl.List(pl.String))
    return Parsed(lists.zip_with(is_json, split)).reject(is_json & lists.is_null(), "is not a JSON list of texts")


def json_object(raw: pl.Series) -> Parsed:
    """A JSON object as text; structs are written as one."""
    if raw.dtype == pl.Struct:
        return Parsed(raw.struct.json_encode().set(raw.is_null(), None))
    values = text(raw).values
    wrong = [value for value in values.unique().drop_nulls() if not _is_object(value)]
    return Parsed(values).reject(values.is_in(wrong), "is not a JSON object")


def vector(size: int | None) -> Callable[[pl.Series], Parsed]:
    """A list of ``size`` finite numbers, or its JSON text; None = as many as the first one has."""

    def parse(raw: pl.Series) -> Parsed:
        present = raw.is_not_null()
        if raw.dtype == pl.String:
            present &= raw != ""
            raw = pl.Series(raw.name, [_number_list(value) for value in raw], dtype=pl.List(pl.Float64))
        elif not isinstance(raw.dtype, pl.List | pl.Array):
            raise DataError(f"column {raw.name!r} holds {raw.dtype}; expected lists of numbers")
        values = raw.cast(pl.List(pl.Float32), strict=False)
        lengths = values.list.len()
        first = lengths.filter(lengths > 0)
        expected = size or (int(first[0]) if len(first) else 0)
        finite = values.list.eval(pl.element().is_finite().fill_null(False).all()).list.first()
        parsed = Parsed(values).reject(values.is_null() & present, "is not a list of numbers")
        reasons = pl.select(pl.format("has {} numbers, the first vector has {}", lengths, pl.lit(expected))).to_series()
        parsed.reject(lengths != expected, reasons)
        return parsed.reject(finite.not_(), "holds a number that is missing or not finite")

    return parse


def _text_list(value: str) -> list[str] | None:
    try:
        entries = json.loads(value)
    except ValueError:
        return None
    if not isinstance(entries, list) or any(isinstance(entry, dict | list) for entry in entries):
        return None
    return [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries if entry not in ("", None)]


def _number_list(value: str | None) -> list[float] | None:
    try:
        entries = json.loads(value or "null")
        return [float(entry) for entry in entries] if isinstance(entries, list) else None
    except (ValueError, TypeError):
        return None


def _is_object(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False
