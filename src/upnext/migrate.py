"""A log and its catalogue from one backend into another, row by row as they are stored, and then compared.

Codes, offsets, revisions and keys stay what they are: snapshots of the live state and models go with the copy. A copy
that was stopped goes on where it was, and one that was made beside a running server is brought up to date by the same
command once that has stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from upnext.errors import StorageError
from upnext.storage.tables import ORDER, TABLES, Place, Tables, place_of
from upnext.training.progress import Progress, Silent

_ROWS_A_PART = 50_000
_KEPT = ("revision", "vector_size")


@dataclass(slots=True)
class Copied:
    """What is in both now, table by table; prints as a table."""

    rows: dict[str, int] = field(default_factory=dict)
    fresh: dict[str, int] = field(default_factory=dict)  # of them copied by this run
    checksums: dict[str, int] = field(default_factory=dict)  # 64 bits over every column of every row

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table("", "rows in both", "copied now", "checksum of both")
        for column in table.columns[1:]:
            column.justify = "right"
        for name, rows in self.rows.items():
            table.add_row(name, f"{rows:,}", f"{self.fresh[name]:,}", f"{self.checksums[name]:016x}")
        yield table


def migrate(source: Tables, target: Tables, progress: Progress | None = None, part: int = _ROWS_A_PART) -> Copied:
    """Copy what ``target`` lacks, ``part`` rows at once, and compare all of it. Until both are equal no log opens
    ``target``. Raises StorageError where it is no copy of ``source``, where that is being written to, and where they
    differ.
    """
    progress, copied = progress or Silent(), Copied()
    notes = source.notes()
    _refuse_unfit(source, target, notes)
    _note(target, {"copied_from": notes["identity"], "unfinished": 1})
    for table in TABLES:
        copied.fresh[table] = _copy(source, target, table, progress, part)
    kept = {name: value for name, value in source.notes().items() if name in _KEPT}
    _note(target, kept)
    if any(source.last(table) != target.last(table) for table in TABLES) or kept["revision"] != notes["revision"]:
        raise StorageError(
            f"{source.shown}: is being written to. What it held is in {target.shown} by now: stop its writers, "
            "then give the same command again, which copies the rest."
        )
    for table in TABLES:
        copied.rows[table], copied.checksums[table] = _compare(source, target, table, progress, part)
    _note(target, {"unfinished": 0})
    return copied


def _refuse_unfit(source: Tables, target: Tables, notes: Mapping[str, int]) -> None:
    theirs = target.notes()
    if all(source.last(table) is None for table in ("events", "items", "users")):
        raise StorageError(f"{source.shown}: holds nothing. Check the URL of what is to be copied.")
    if notes["identity"] == theirs["identity"]:
        raise StorageError(f"{target.shown}: is the log that is to be copied. Name another to copy it into.")
    if notes.get("unfinished"):
        raise StorageError(f"{source.shown}: a copy into it has not ended; end that first.")
    if "copied_from" not in theirs:
        if target.last("event_types") or target.last("items") or target.last("users"):
            raise StorageError(f"{target.shown}: is not empty, and no copy of {source.shown}. Name an empty one.")
        return
    if theirs["copied_from"] != notes["identity"]:
        raise StorageError(f"{target.shown}: is a copy of another log than {source.shown}. Name an empty one.")
    if any(_beyond(source, target, table) for table in TABLES):
        raise StorageError(
            f"{target.shown}: has gone on by itself since it was copied from {source.shown}. Name an empty one."
        )


def _beyond(source: Tables, target: Tables, table: str) -> bool:
    """Whether the target's last row is none that the source has, or has had."""
    last, end = target.last(table), source.last(table)
    if last is None:
        return False
    if end is None or last > end:
        return True
    if table != "events":  # rows of items and users may have changed since
        return False
    before = (last[0] - 1,)
    return not source.part(table, before, 1).equals(target.part(table, before, 1))


def _copy(source: Tables, target: Tables, table: str, progress: Progress, size: int) -> int:
    place, copied = target.last(table), 0
    with progress.track(f"Copying {table}", source.count(table)) as step:
        step(target.count(table), "")
        while len(rows := source.part(table, place, size)):
            target.write(table, rows, {})
            place, copied = _last(table, rows), copied + len(rows)
            step(len(rows), f"{copied:,} copied")
    return copied


def _compare(source: Tables, target: Tables, table: str, progress: Progress, size: int) -> tuple[int, int]:
    """Rows and checksum of both. Raises StorageError, naming the place, where they differ."""
    place: Place | None = None
    total = checksum = 0
    with progress.track(f"Comparing {table}", source.count(table)) as step:
        while True:
            ours, theirs = source.part(table, place, size), target.part(table, place, size)
            expected, found = _checksum(ours), _checksum(theirs)
            if len(ours) != len(theirs) or expected != found:
                start = "" if place is None else f" after {dict(zip(ORDER[table], place, strict=True))}"
                raise StorageError(
                    f"{target.shown}: {table} differ from {source.shown}{start}: {len(theirs)} rows with checksum "
                    f"{found:016x}, expected {len(ours)} with {expected:016x}. Empty it, then migrate again."
                )
            if not len(ours):
                return total, checksum
            place, total, checksum = _last(table, ours), total + len(ours), (checksum + expected) % 2**64
            step(len(ours), "")


def _checksum(rows: pl.DataFrame) -> int:
    """64 bits over every value, whatever the order of the rows. Means nothing beyond this process."""
    return int(rows.hash_rows(seed=0).cast(pl.Int128).sum()) % 2**64 if len(rows) else 0


def _last(table: str, rows: pl.DataFrame) -> Place:
    return place_of(table, rows.row(-1, named=True))


def _note(target: Tables, notes: Mapping[str, int]) -> None:
    target.write("surfaces", target.part("surfaces", None, 0), notes)
