"""A source into the log: read, check, put in order of time, append; and a summary in which every row is counted."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import polars as pl
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from upnext.errors import DataError, StorageError
from upnext.events.batches import BATCH_ROWS, Batch, Reader
from upnext.events.schema import KINDS, Kind
from upnext.events.validate import validate
from upnext.storage.log import Log
from upnext.training.progress import Progress, Silent

SORTED_ROWS = 5_000_000  # events put in order of time at once; about a gigabyte


@dataclass(slots=True)
class Counts:
    """Rows of one kind: every row read was added, was known already, or was rejected."""

    read: int = 0
    added: int = 0  # events: new in the log; items and users: new or changed
    known: int = 0  # events: duplicates; items and users: unchanged
    rejected: int = 0


@dataclass(slots=True)
class Summary:
    """What became of every row; prints as a table. An impression with ``items`` counts once an item."""

    counts: dict[Kind, Counts] = field(default_factory=lambda: {kind: Counts() for kind in KINDS})
    rejects: Path | None = None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table("", "read", "added or changed", "known already", "rejected")
        for column in table.columns[1:]:
            column.justify = "right"
        for kind, count in self.counts.items():
            if count.read:
                numbers = (count.read, count.added, count.known, count.rejected)
                table.add_row(kind, *(f"{number:,}" for number in numbers))
        yield table
        if self.rejects:
            yield f"Rejected rows, with line, column and reason: {self.rejects}"
        yield from (f"Note: {note}" for note in self.notes)
        rate = self.counts["events"].read / max(self.seconds, 1e-9)
        yield f"{self.seconds:.1f} s" + (f", {rate:,.0f} events/s" if self.counts["events"].read else "")


def import_source(
    log: Log, reader: Reader, types: Iterable[str], rejects_dir: Path, progress: Progress | None = None
) -> Summary:
    """Import all that ``reader`` yields; ``types`` are the names of the event types that are accepted.

    Events are appended in the order of time over the whole source, up to SORTED_ROWS of them; beyond that in order
    within each such part, which the summary's notes say. Rejects go to a file in ``rejects_dir``, made when needed.
    """
    run = _Import(
        log, list(types), rejects_dir / f"{reader.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.jsonl"
    )
    started = time.perf_counter()
    progress = progress or Silent()
    try:
        with progress.track("Reading", reader.total) as step:
            for batch in reader:
                run.take(batch)
                step(batch.units, f"{run.summary.counts['events'].read:,} events")
                if run.waiting_rows > SORTED_ROWS:
                    run.append_events(progress)
                    run.parts += 1
        run.append_events(progress)
    finally:
        run.close()
    if run.parts > 0:
        run.summary.notes.append(f"events are in the order of time within parts of {SORTED_ROWS:,}, not over all")
    run.summary.notes += reader.notes
    run.summary.seconds = time.perf_counter() - started
    return run.summary


class _Import:
    """One run: events wait until they can be put in order; items and users are written at once."""

    def __init__(self, log: Log, types: list[str], rejects: Path) -> None:
        self.summary = Summary()
        self.waiting_rows = 0
        self.parts = 0
        self._log, self._types, self._path = log, types, rejects
        self._waiting: list[pl.DataFrame] = []
        self._vector_size: int | None = None
        self._rejects: TextIO | None = None

    def take(self, batch: Batch) -> None:
        count = self.summary.counts[batch.kind]
        count.read += batch.duplicates + len(batch.rejects)
        count.known += batch.duplicates
        count.rejected += len(batch.rejects)
        self._write(batch.rejects)
        if batch.frame.is_empty():
            return
        checked = validate(batch.kind, batch.frame, batch.file, self._types, self._vector_size)
        count.read += len(checked.good) + len(checked.rejects)
        count.rejected += len(checked.rejects)
        self._write(checked.rejects)
        if batch.kind == "events":
            self._waiting.append(checked.good)
            self.waiting_rows += len(checked.good)
            return
        changed = self._upsert(batch, checked.good)
        count.added += changed
        count.known += len(checked.good) - changed

    def append_events(self, progress: Progress) -> None:
        """Append what waits, in the order of time; events of one moment keep their order."""
        if not self._waiting:
            return
        events = pl.concat(self._waiting, how="diagonal")
        events = events if events["happened_at"].is_sorted() else events.sort("happened_at", maintain_order=True)
        self._waiting, self.waiting_rows = [], 0
        count = self.summary.counts["events"]
        with progress.track("Appending", len(events)) as step:
            for start in range(0, len(events), BATCH_ROWS):
                appended = self._log.append_events(events[start : start + BATCH_ROWS])
                count.added += appended.accepted
                count.known += appended.duplicates
                step(len(appended.status), f"{count.added:,} new")

    def close(self) -> None:
        if self._rejects:
            self._rejects.close()

    def _upsert(self, batch: Batch, rows: pl.DataFrame) -> int:
        if batch.kind == "users":
            return self._log.upsert_users(rows)
        if self._vector_size is None and "vector" in rows.columns:
            vectors = rows["vector"].drop_nulls()
            self._vector_size = len(vectors[0]) if len(vectors) else None
        try:
            return self._log.upsert_items(rows)
        except DataError as error:
            raise DataError(f"{batch.file}: {error}") from error

    def _write(self, rejects: pl.DataFrame) -> None:
        if rejects.is_empty():
            return
        if self._rejects is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._rejects = self._path.open("w", encoding="utf-8")
            except OSError as error:
                raise StorageError(f"{self._path}: the rejects cannot be written ({error.strerror})") from error
            self.summary.rejects = self._path
        self._rejects.write(rejects.write_ndjson())
