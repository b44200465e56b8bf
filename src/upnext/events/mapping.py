"""How a file's columns become canonical ones: by a mapping file, else by their names.

[events]
file = "plays.parquet"                  # needed only where the file's name does not say what it holds
columns = { item_id = "song", happened_at = "played" }
constants = { event_type = "watch" }
context = ["device"]                    # columns kept in the event's context
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from upnext.errors import ConfigError, DataError
from upnext.events.columns import boolean
from upnext.events.schema import ITEMS, KINDS, LINE, REQUIRED, SCHEMAS, Kind, nearest, plain, recognise

Constant = str | int | float | bool
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class KindMapping:
    """One section of a mapping file: canonical name -> column, canonical name -> constant."""

    file: str | None = None
    columns: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    constants: Mapping[str, Constant] = field(default_factory=lambda: _NOTHING)
    context: Sequence[str] = ()


def load_mapping(path: Path) -> dict[Kind, KindMapping]:
    """Read a mapping file; ConfigError names the section and key that is wrong and the nearest right one."""
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    found: dict[Kind, KindMapping] = {}
    for name, section in sections.items():
        kinds = [kind for kind in KINDS if kind == name]
        if not kinds or not isinstance(section, dict):
            raise ConfigError(f"{path}: {name!r} is no section{nearest(name, KINDS)}")
        found[kinds[0]] = _section(path, kinds[0], section)
    return found


def canonical(kind: Kind, frame: pl.DataFrame, mapping: KindMapping, file: str) -> tuple[pl.DataFrame, list[str]]:
    """The frame under canonical names, and the columns that were left out.

    Columns of items and users that have no canonical name become their ``attributes``.
    """
    columns = [name for name in frame.columns if name != LINE]
    sources = _sources(kind, columns, mapping, file)
    if "categories" in sources and _holds_objects(frame[sources["categories"]]):
        del sources["categories"]  # Gorse's labels may be an object
    chosen = [pl.col(column).alias(name) for name, column in sources.items() if name not in mapping.constants]
    constants = [pl.lit(value).alias(name) for name, value in mapping.constants.items()]
    result = frame.select(LINE, *chosen).with_columns(constants)
    rest = [name for name in columns if name not in sources.values()]
    if kind == "items":
        result, rest = _with_availability(result, frame, rest)
    if kind == "events":
        if mapping.context and "context" not in result.columns:
            result = result.with_columns(_objects(frame.select(mapping.context)).alias("context"))
        return result, [name for name in rest if name not in mapping.context]
    if rest and "attributes" not in result.columns:
        return result.with_columns(_objects(frame.select(rest)).alias("attributes")), []
    return result, rest


def needed_columns(kind: Kind, columns: Sequence[str], mapping: KindMapping, file: str) -> list[str]:
    """The columns worth reading: for events those with a canonical name, else all."""
    if kind != "events":
        return list(columns)
    return list(dict.fromkeys([*_sources(kind, columns, mapping, file).values(), *mapping.context]))


def _section(path: Path, kind: Kind, section: Mapping[str, Any]) -> KindMapping:
    allowed = ("file", "columns", "constants", *(("context",) if kind == "events" else ()))
    names = [*SCHEMAS[kind], *([ITEMS] if kind == "events" else [])]
    for key, value in section.items():
        if key not in allowed:
            hint = f"; a constant goes to [{kind}.constants]" if key in names else nearest(key, allowed)
            raise ConfigError(f"{path}: [{kind}] has the unknown key {key!r}{hint}")
        if not isinstance(value, {"file": str, "context": list}.get(key, dict)):
            raise ConfigError(f"{path}: [{kind}] {key} is {value!r}, which has the wrong type")
    for table, right in (("columns", str), ("constants", Constant)):
        for name, value in section.get(table, {}).items():
            if name not in names:
                raise ConfigError(f"{path}: [{kind}.{table}] {name!r} is no column of {kind}{nearest(name, names)}")
            if not isinstance(value, right):
                raise ConfigError(f"{path}: [{kind}.{table}] {name} is {value!r}, which has the wrong type")
    return KindMapping(
        section.get("file"), section.get("columns", {}), section.get("constants", {}), section.get("context", ())
    )


def _sources(kind: Kind, columns: Sequence[str], mapping: KindMapping, file: str) -> dict[str, str]:
    """Canonical name -> column; DataError when a required one is not there."""
    for name in [*mapping.columns.values(), *mapping.context]:
        if name not in columns:
            raise DataError(
                f"{file}: the mapping names the column {name!r}, which is not there{nearest(name, columns)}"
            )
    used = {*mapping.columns.values(), *mapping.context}
    by_name = recognise(kind, [column for column in columns if column not in used])
    found = {**{name: column for name, column in by_name.items() if name not in mapping.columns}, **mapping.columns}
    provided = {*found, *mapping.constants}
    if ITEMS in provided:  # impressions that carry a list name no single item, and say what they are
        provided |= {"item_id"}
    for name in REQUIRED[kind]:
        if name not in provided:
            raise DataError(_missing(kind, name, columns, file))
    return found


def _missing(kind: Kind, name: str, columns: Sequence[str], file: str) -> str:
    near = nearest(name, columns) if columns else ""
    remedy = f'[{kind}.columns] {name} = "..."'
    if name == "event_type":
        remedy += f', or [{kind}.constants] {name} = "click"'
    found = ", ".join(columns) or "none"
    hint = near if "did you mean" in near else ""
    return f"{file}: no column for {name!r}; found are {found}{hint}. Name it in a mapping file (--mapping): {remedy}"


def _with_availability(result: pl.DataFrame, frame: pl.DataFrame, rest: list[str]) -> tuple[pl.DataFrame, list[str]]:
    """Gorse's ``IsHidden`` is the opposite of ``available``."""
    hidden = [name for name in rest if plain(name) == "ishidden"]
    if not hidden or "available" in result.columns:
        return result, rest
    available = boolean(frame[hidden[0]]).values.not_()
    return result.with_columns(available.alias("available")), [name for name in rest if name != hidden[0]]


def _objects(frame: pl.DataFrame) -> pl.Series:
    """A JSON object a row, without its nulls and empty texts; null where nothing is left."""
    rows = frame.iter_rows(named=True)
    objects = ({name: _unfolded(value) for name, value in row.items() if value not in (None, "")} for row in rows)
    texts = [json.dumps(entry, ensure_ascii=False, default=str) if entry else None for entry in objects]
    return pl.Series(texts, dtype=pl.String)


def _holds_objects(column: pl.Series) -> bool:
    return column.dtype == pl.String and bool(column.str.starts_with("{").any())


def _unfolded(value: object) -> object:
    """What JSON lines held as an object comes as JSON text; inside another object it is one again."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
