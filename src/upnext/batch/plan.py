"""One run for many users: what all its parts have in common, and the folder in which they wait for each other.

recs.parquet.parts/plan.json        written last, so that a folder with a plan has all that the plan names
recs.parquet.parts/part-*.parquet   answers; each appears whole or not at all
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from upnext.errors import StorageError

PLAN, JOINED = "plan.json", "joined.parquet"
STATE, ITEMS, USERS = "state.npz", "catalogue.copy", "users.parquet"  # the home, held still: batch/frozen.py
ASKED = "asked.parquet"  # user_id, code of everybody, in the order of the parts
OURS = (PLAN, JOINED, STATE, ITEMS, USERS, ASKED, "part-")  # how names in the folder begin; drafts have a dot before
METADATA = "upnext"  # the key of the plan in the metadata of the finished file
AGAIN = "`--restart` throws away what is there and begins anew"


class Plan(BaseModel):
    """What is fixed from the first part to the last, so that all answers are of one moment and of one model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = Field(description="A name; parts of another run are none of this one's.")
    model_version: str
    settings: str = Field(description="Digest of all settings that can change an answer.")
    asked: str = Field(description="Who: all, or a digest of the list.")
    n: int
    surface: str
    explore: float
    log_offset: int = Field(description="The last event that the answers know of.")
    now: int = Field(description="The moment of all answers, Unix ms.")
    users: int
    part: int = Field(description="Users a part.", ge=1)

    @property
    def parts(self) -> int:
        return -(-self.users // self.part)

    def size(self, part: int) -> int:
        """How many users this part has."""
        return min(self.part, self.users - part * self.part)


class PartsFolder:
    """The folder beside ``target``, which is there only while a run is unfinished."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.parts")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The folder, made if need be, for this process alone; it goes in the end, unless it holds a plan.

        Raises StorageError where that cannot be.
        """
        try:
            self.path.mkdir(exist_ok=True)
            lock = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise StorageError(
                f"{self.path}: cannot be made ({error.strerror}). Let --out name a file where you may write."
            ) from error
        try:
            self._lock(lock)
            try:
                yield
            finally:
                if not (self.path / PLAN).exists():
                    self._sweep()
        finally:
            os.close(lock)

    def plan(self) -> Plan | None:
        """The plan of an unfinished run; None without one. Raises StorageError when it cannot be understood."""
        path = self.path / PLAN
        if not path.exists():
            return None
        try:
            found = Plan.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise StorageError(f"{path}: is damaged, or of another version of upnext. {AGAIN}.") from error
        return None if self._is_joined(found) else found

    def begin(self, plan: Plan) -> None:
        """From now on this is the plan; everything that it names is in the folder already."""
        draft = self.path / f".{PLAN}"
        draft.write_text(plan.model_dump_json(indent=1), encoding="utf-8")
        settle(draft, self.path / PLAN)

    def part(self, plan: Plan, number: int) -> Path:
        return self.path / f"part-{plan.run}-{number:06d}.parquet"

    def missing(self, plan: Plan) -> list[int]:
        """The parts that are not there yet, or not sound."""
        return [number for number in range(plan.parts) if not _readable(self.part(plan, number))]

    def join(self, plan: Plan) -> None:
        """All parts, in their order, as the target: streamed, and whole or not at all."""
        parts = [self.part(plan, number) for number in range(plan.parts)]
        joined = self.path / JOINED
        pl.scan_parquet(parts).sink_parquet(joined, metadata={METADATA: plan.model_dump_json()})
        settle(joined, self.target)
        (self.path / PLAN).unlink()

    def clear(self) -> None:
        """Throw away what runs put into the folder, the plan first; what somebody else put there stays."""
        (self.path / PLAN).unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if not entry.name.lstrip(".").startswith(OURS):
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(
                f"{self.path}: another run is writing there. Wait for its end, or write to another file."
            ) from None

    def _sweep(self) -> None:
        self.clear()
        with suppress(OSError):  # something is left: a file of somebody else's, or of a killed run's last worker
            self.path.rmdir()

    def _is_joined(self, plan: Plan) -> bool:
        """Whether the run was killed after its last step but for the sweeping up."""
        try:
            told = pl.read_parquet_metadata(self.target).get(METADATA, "")
        except (OSError, pl.exceptions.PolarsError):
            return False
        return plan.model_dump_json() == told


def settle(draft: Path, path: Path) -> None:
    """Let a finished file take its name; it is on the disk before it does."""
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


def _readable(path: Path) -> bool:
    try:
        return path.exists() and pl.scan_parquet(path).select(pl.len()).collect().item() >= 0
    except (OSError, pl.exceptions.PolarsError):  # cut short by a power cut: it is answered again
        return False
