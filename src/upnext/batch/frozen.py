"""A home held still: its log, catalogue and state as of one moment, in files that every worker reads.

So a run may take hours beside a busy server, may be stopped and resumed, and all its answers are still of one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from upnext import catalogue_copy, snapshot
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

    def restore(live: Live) -> bool:
        restored = snapshot.restore(live, home.directory / snapshot.FILE)
        catalogue_copy.restore(live, home.directory / catalogue_copy.FOLDER)
        return restored

    live = Live(log, home.config, restore=restore)
    offset = snapshot.save(live, folder / STATE)
    if not catalogue_copy.save(live, folder / ITEMS):
        raise StorageError(f"{folder / ITEMS}: another process is writing there. Wait for its end, then try again.")
    # The names after the events: what an event refers to was in the log before it.
    users = log.read_users()
    users.write_parquet(folder / USERS)
    return Moment(offset, max(live.latest, wall()), users, list(live.surfaces.names))


def thaw(config: Config, log: Log, folder: Path, offset: int, now: int) -> Live:
    """The views of that moment. Raises StorageError when the log is not the one that was frozen."""

    def restore(live: Live) -> bool:
        # The state first: its codes of authors stay.
        for part, restored in ((STATE, snapshot.restore), (ITEMS, catalogue_copy.restore)):
            if not restored(live, folder / part):
                raise StorageError(
                    f"{folder / part}: does not fit this home's log any more. `--restart` begins anew, as of now."
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

    def item_parts(self, after: int = 0) -> Iterator[pl.DataFrame]:
        """Nothing: the catalogue was restored, and nothing comes after it."""
        return iter(())

    def identity(self) -> tuple[int, int]:
        return self.log.identity()

    def read_users(self, after: int = 0) -> pl.DataFrame:
        return pl.scan_parquet(self.folder / USERS).filter(pl.col("revision") > after).collect()

    def ids(self, kind: IdKind, start: int = 0) -> list[str]:
        return self.log.ids(kind, start)

    def marks(self) -> Marks:
        return self.log.marks()  # where they have moved on, the same files are read once more, and nothing is found
