"""Your own data: CSV, JSON lines or Parquet, one file or a folder with ``items.*``, ``users.*`` and ``events.*``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from upnext.errors import DataError
from upnext.events.batches import BATCH_ROWS, Batch, size_of
from upnext.events.mapping import KindMapping, canonical, needed_columns
from upnext.events.readers.delimited import csv_header, read_csv
from upnext.events.readers.json_lines import first_object, read_json_lines
from upnext.events.readers.metarank import is_metarank, read_metarank
from upnext.events.schema import KINDS, LINE, SCHEMAS, Kind, kind_of

FORMATS: Mapping[str, str] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
}
_STEMS: Mapping[Kind, str] = {
    "items": r"items?",
    "users": r"users?",
    "events": r"events?|feedback|interactions?",
}


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    kind: Kind
    format: str
    mapping: KindMapping


class Files:
    """A file, or all the files of a folder whose names say what they hold (``events-2026-01.parquet`` too)."""

    def __init__(self, path: Path, mapping: Mapping[Kind, KindMapping] | None = None) -> None:
        self.name = path.resolve().name
        self.notes: list[str] = []
        self._files = _found(path, mapping or {}, self.notes)
        self.total = size_of(*(file.path for file in self._files))

    def __iter__(self) -> Iterator[Batch]:
        for file in self._files:
            if file.format == "json" and is_metarank(first_object(file.path, file.path.name)):
                yield from read_metarank(file.path, file.path.name)
                continue
            for frame, rejects, units in _read(file):
                if frame.is_empty():
                    yield Batch(file.kind, _no_rows(file.kind), file.path.name, rejects, units=units)
                    continue
                named, left_out = canonical(file.kind, frame, file.mapping, file.path.name)
                self._note(file, left_out)
                yield Batch(file.kind, named, file.path.name, rejects, units=units)

    def _note(self, file: _File, left_out: list[str]) -> None:
        note = f"{file.path.name}: left out the columns {', '.join(left_out)}"
        if left_out and note not in self.notes:
            self.notes.append(note)


def _read(file: _File) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, int]]:
    name = file.path.name
    if file.format == "csv":
        return read_csv(file.path, name)
    if file.format == "json":
        return read_json_lines(file.path, name)
    return _read_parquet(file)


def _read_parquet(file: _File) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, int]]:
    size, done = file.path.stat().st_size, 0
    rejects = Batch(file.kind, pl.DataFrame(), file.path.name).rejects
    try:
        scan = pl.scan_parquet(file.path)
        columns = needed_columns(file.kind, scan.collect_schema().names(), file.mapping, file.path.name)
        rows = max(scan.select(pl.len()).collect().item(), 1)
        for frame in scan.select(columns).collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
            numbered = frame.with_columns(pl.int_range(done + 1, done + len(frame) + 1, dtype=pl.Int64).alias(LINE))
            yield numbered, rejects, (done + len(frame)) * size // rows - done * size // rows
            done += len(frame)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{file.path.name}: cannot be read as Parquet ({error})") from error


def _found(path: Path, mapping: Mapping[Kind, KindMapping], notes: list[str]) -> list[_File]:
    """The files to read, items first."""
    if path.is_file():
        return [_single(path, mapping)]
    found: list[_File] = []
    for kind in KINDS:
        own = mapping.get(kind, KindMapping())
        if own.file is not None:
            if not (path / own.file).is_file():
                raise DataError(f"{path / own.file}: there is no such file, which the mapping names for {kind}")
            paths = [path / own.file]
        else:
            paths = [entry for entry in sorted(path.iterdir()) if _says(entry, kind)]
        found += [_File(entry, kind, _format(entry), own) for entry in paths]
    if not found:
        names = ", ".join(sorted(entry.name for entry in path.iterdir())[:20]) or "nothing"
        raise DataError(
            f"{path}: holds no items.*, users.* or events.* ({', '.join(FORMATS)}); found {names}. "
            'Name the files in a mapping file (--mapping): [events] file = "..."'
        )
    others = [entry.name for entry in sorted(path.iterdir()) if entry not in [file.path for file in found]]
    if others:
        notes.append(f"left out the files {', '.join(others[:20])}")
    return found


def _says(path: Path, kind: Kind) -> bool:
    return bool(
        path.is_file()
        and path.suffix.lower() in FORMATS
        and re.fullmatch(rf"({_STEMS[kind]})([-_.].*)?", path.stem, re.IGNORECASE)
    )


def _single(path: Path, mapping: Mapping[Kind, KindMapping]) -> _File:
    """What one file holds: by the mapping, its name, or its columns."""
    form = _format(path)
    named = [kind for kind in KINDS if _says(path, kind)]
    mapped = [kind for kind in KINDS if kind in mapping and mapping[kind].file in (None, path.name)]
    for kinds in (mapped, named):
        if len(kinds) == 1:
            return _File(path, kinds[0], form, mapping.get(kinds[0], KindMapping()))
    columns = _columns(path, form)
    kind = kind_of(columns)
    if kind is None:
        raise DataError(
            f"{path.name}: cannot tell whether it holds items, users or events; found the columns "
            f"{', '.join(columns) or 'none'}. Name it so, or write a mapping file (--mapping)."
        )
    return _File(path, kind, form, mapping.get(kind, KindMapping()))


def _format(path: Path) -> str:
    if path.suffix.lower() not in FORMATS:
        raise DataError(f"{path.name}: has an unknown ending; known are {', '.join(FORMATS)}")
    return FORMATS[path.suffix.lower()]


def _columns(path: Path, form: str) -> list[str]:
    if form == "csv":
        return csv_header(path, path.name)[0]
    if form == "json":
        first = first_object(path, path.name)
        return ["user_id", "item_id"] if is_metarank(first) else list(first)
    try:
        return pl.scan_parquet(path).collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path.name}: cannot be read as Parquet ({error})") from error


def _no_rows(kind: Kind) -> pl.DataFrame:
    return pl.DataFrame(schema={**SCHEMAS[kind], LINE: pl.Int64()})
