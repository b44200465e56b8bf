"""What the contract of a log is written with: small events, and a log that is opened again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest

from upnext.storage.log import EVENT_SCHEMA, Log

NOON = 1_650_000_000_000


def events(*rows: tuple[str, str, str, int], **columns: Sequence[object]) -> pl.DataFrame:
    """Events of (event_type, user_id, item_id, milliseconds after noon); further columns by name."""
    frame = pl.DataFrame(rows, schema=["event_type", "user_id", "item_id", "happened_at"], orient="row")
    frame = frame.with_columns(pl.col("happened_at") + NOON)
    return frame.with_columns(pl.Series(name, values, EVENT_SCHEMA[name]) for name, values in columns.items())


def some(count: int, user: str = "u") -> pl.DataFrame:
    return events(*((("click", user, f"i{n}", n)) for n in range(count)))


class OpensLogs:
    def open(self, tmp_path: Path) -> Log:
        """A log in ``tmp_path``: a new one, or the one that is there."""
        raise NotImplementedError

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[Callable[[], Log]]:
        """Opens the same log again and again; all are closed in the end."""
        logs: list[Log] = []

        def again() -> Log:
            logs.append(self.open(tmp_path))
            return logs[-1]

        yield again
        for log in logs:
            log.close()

    @pytest.fixture
    def log(self, opened: Callable[[], Log]) -> Log:
        return opened()
