"""Times in any usual form -> Unix milliseconds."""

from __future__ import annotations

import polars as pl

from upnext.errors import DataError
from upnext.events.columns import Parsed

YEAR_2200_S = 7_258_118_400
_EXPECTED = "is no time; expected Unix seconds or milliseconds, or ISO 8601 such as 2026-01-31T18:00:00Z"
_ZONED = ("%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M%:z")
_NAIVE = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M")


def time(raw: pl.Series) -> Parsed:
    """Unix ms from 1970 to 2200; without a zone it is UTC.

    Numbers up to 7,258,118,400 (the year 2200) are seconds, larger ones milliseconds: so milliseconds of the
    first twelve weeks of 1970 would be misread, and nothing else.
    """
    if raw.dtype.is_temporal():
        if raw.dtype not in (pl.Date, pl.Datetime):
            raise DataError(f"column {raw.name!r} holds {raw.dtype}; expected times")
        return _in_range(Parsed(raw.cast(pl.Datetime("ms", getattr(raw.dtype, "time_zone", None))).dt.epoch("ms")))
    if raw.dtype.is_integer():
        values = raw.cast(pl.Int64, strict=False)
        parsed = Parsed(values.zip_with(values.abs() > YEAR_2200_S, values * 1000))
        return _in_range(parsed.reject(values.is_null() & raw.is_not_null(), _EXPECTED))
    if raw.dtype.is_float() or raw.dtype.is_decimal():
        return _from_floats(raw.cast(pl.Float64))
    if raw.dtype == pl.String:
        return _from_text(raw)
    raise DataError(f"column {raw.name!r} holds {raw.dtype}; expected times")


def _from_floats(values: pl.Series) -> Parsed:
    milliseconds = values.zip_with(values.abs() > YEAR_2200_S, values * 1000).round()
    parsed = Parsed(milliseconds.cast(pl.Int64, strict=False))
    return _in_range(parsed.reject(parsed.values.is_null() & values.is_not_null(), "is not finite"))


def _from_text(raw: pl.Series) -> Parsed:
    texts = raw.str.strip_chars()
    texts = texts.set(texts == "", None)
    numbers = texts.cast(pl.Float64, strict=False)
    if numbers.null_count() == texts.null_count():
        return _from_floats(numbers)
    parsed = _from_floats(numbers)
    parsed.values = parsed.values.fill_null(_iso(texts))
    return _in_range(parsed.reject(parsed.values.is_null() & texts.is_not_null() & numbers.is_null(), _EXPECTED))


def _iso(texts: pl.Series) -> pl.Series:
    """Every format is tried on every text: a column may mix them."""
    texts = texts.str.replace(" ", "T", literal=True).str.replace(r"[zZ]$", "+00:00")
    texts = texts.str.replace(r"^(\d{4}-\d{2}-\d{2})$", "${1}T00:00").str.replace(r"T(.*[+-]\d{2})$", "T${1}:00")
    found = pl.Series(texts.name, [None] * len(texts), dtype=pl.Int64)
    for form in _ZONED:
        found = found.fill_null(
            texts.str.to_datetime(form, time_unit="ms", time_zone="UTC", strict=False).dt.epoch("ms")
        )
    for form in _NAIVE:
        found = found.fill_null(texts.str.to_datetime(form, time_unit="ms", strict=False).dt.epoch("ms"))
    return found


def _in_range(parsed: Parsed) -> Parsed:
    """Applied twice it says the same once more, which does no harm: the first reason counts."""
    parsed.reject(parsed.values < 0, "is before 1970")
    return parsed.reject(parsed.values > YEAR_2200_S * 1000, "is after 2200 (microseconds? expected s or ms)")
