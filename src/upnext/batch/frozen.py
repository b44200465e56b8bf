"""A home held still: its log, catalogue and state as of one moment, in files that every worker reads.

So a run may take hours beside a busy server, may be stopped and resumed, and all its answers are still of one moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from upnext import snapshot
from upnext.batch.plan import ITEMS, STATE, USERS
from upnext.config import Config
from upnext.errors import StorageError
from upnext.home import Home
from upnext.live import Live
from upnext.storage.log import IdKind, Log, Marks
from upnext.types import Events


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a log was held still."""

    offset: int  # the last event
    now: int  # Unix ms
    users: pl.DataFrame  # as Log.read_users gives them
    surfaces: list[str]


def freeze(home: Home, log: Log, folder: Path, wall: Callable[[], int]) -> Moment:
    """Write the live state and the catalogue of this moment into ``folder``."""
    live = Live(log, home.config, restore=lambda live: snapshot.restore(live, home.directory / snapshot.FILE))
    offset = snapshot.save(live, folder / STATE)
    # The names after the events: what an event refers to was in the log before it.
    log.read_items().write_parquet(folder / ITEMS)
    users = log.read_users()
    users.write_parquet(folder / USERS)
    return Moment(offset, max(live.latest, wall()), users, list(live.surfaces.names))


def thaw(config: Config, log: Log, folder: Path, offset: int, now: int) -> Live:
    """The views of that moment. Raises StorageError when the log is not the one that was frozen."""

    def restore(live: Live) -> bool:
        if not snapshot.restore(live, folder / STATE):
            raise StorageError(
                f"{folder / STATE}: does not fit this home's log any more. `--restart` begins anew, as of now."
            )
        return True

    live = Live(_Frozen(log, folder, offset), config, restore=restore)
    live.state.advance(now)
    return live


@dataclass(frozen=True, slots=True)
class _Frozen:
    """A log without anything that came after ``offset``."""

    log: Log
    folder: Path
    offset: int

    def read_events(self, after: int = -1, limit: int | None = None) -> Events:
        if after >= self.offset:
            return Events.empty()
        events = self.log.read_events(after, limit)
        return events.take(events.offset <= self.offset)

    def read_items(self, after: int = 0) -> pl.DataFrame:
        return _since(self.folder / ITEMS, after)

    def read_users(self, after: int = 0) -> pl.DataFrame:
        return _since(self.folder / USERS, after)

    def ids(self, kind: IdKind, start: int = 0) -> list[str]:
        return self.log.ids(kind, start)

    def marks(self) -> Marks:
        return self.log.marks()  # where they have moved on, the same files are read once more, and nothing is found


def _since(path: Path, revision: int) -> pl.DataFrame:
    return pl.scan_parquet(path).filter(pl.col("revision") > revision).collect()
