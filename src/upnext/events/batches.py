"""What every reader yields: a frame of canonical columns, as raw as they came, and what could not be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import polars as pl

from upnext.events.schema import REJECT_SCHEMA, Kind

BATCH_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class Batch:
    """``frame`` has canonical columns of any type, and LINE. ``file`` is shown to the user."""

    kind: Kind
    frame: pl.DataFrame
    file: str
    rejects: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REJECT_SCHEMA))
    duplicates: int = 0  # rows that the reader left out because they repeat another exactly
    units: int = 0  # how far this batch brings the reader, of its ``total``


class Reader(Protocol):
    """Iterates over batches; items come before users before events where the source allows it.

    Raises DataError when a file cannot be read as a whole.
    """

    name: str  # names the rejects file
    total: int  # units of progress (bytes)
    notes: list[str]  # what was left out or decided; complete after iterating

    def __iter__(self) -> Iterator[Batch]: ...


def size_of(*paths: Path) -> int:
    return sum(path.stat().st_size for path in paths)
