"""Recommendations for everybody, in parts: frozen at one moment, by several processes, resumable, one file in the end.

A run that was stopped, however it was, loses the parts under way; the same call goes on with the rest.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from upnext.batch.answers import AT_ONCE
from upnext.batch.frozen import freeze
from upnext.batch.plan import AGAIN, ASKED, PartsFolder, Plan
from upnext.batch.pool import work_through
from upnext.batch.users import ALL, Unknown, digest, read_ids, with_codes
from upnext.config import Config, ServingConfig, nearest
from upnext.errors import ConfigError, HomeError, StorageError
from upnext.home import Home
from upnext.serving.clock import wall_ms
from upnext.serving.question import Question
from upnext.training.progress import Progress, Silent

PARTS, SMALLEST, LARGEST = 100, 8, 2048  # a part is a hundredth of all users, within limits: what a stop can lose


Work = Callable[[Sequence[int]], Generator[int, None, None]]
"""Does parts of a run, each by batch.worker.write, and yields every part as it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is wanted of a batch run. ``explore`` is the share of positions that are drawn, as in a request."""

    users: str = ALL  # or a file
    n: int = 10
    surface: str = ""
    explore: float = 0.0
    unknown: Unknown = "refuse"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did. ``answered`` are the users of this call; those before it were answered by calls that stopped."""

    target: Path
    plan: Plan
    answered: int
    seconds: float
    degraded: int  # users with answers that lack something
    example: str | None  # what was lacking for one of them


def recommend_all(
    home: Home,
    asked: Wanted,
    target: Path,
    overrides: Sequence[str] = (),
    processes: int | None = None,
    restart: bool = False,
    progress: Progress | None = None,
    work: Work | None = None,
    wall: Callable[[], int] = wall_ms,
) -> Summary:
    """Write the answers for everybody that ``asked`` names to the Parquet file ``target``, as in answers.SCHEMA.

    ``overrides`` are those that ``home`` was opened with; ``processes`` None = one a core of this machine, unless
    others do the ``work``. Raises UpnextError, with the remedy, for whatever stands in the way; what was done until
    then is kept.
    """
    started, progress = time.perf_counter(), progress or Silent()
    Question(n=asked.n, surface=asked.surface, explore=asked.explore).check(home.config)
    if not 0 <= asked.explore <= 1:
        raise ConfigError(f"explore is {asked.explore:g}; it is a share of positions, 0 to 1")
    _check_target(target)
    folder = PartsFolder(target)
    with folder.alone():
        plan = _plan(home, asked, folder, restart, wall)
        parts = folder.missing(plan)
        if len(parts) < plan.parts:
            progress.say(f"Going on with {folder.path}: {plan.parts - len(parts)} of {plan.parts} parts are there")
        command = [sys.executable, "-m", "upnext.batch.worker", str(home.directory), str(target), *overrides]
        total, done = sum(map(plan.size, parts)), 0
        answering = work(parts) if work else work_through(parts, command, processes or os.cpu_count() or 1)
        with progress.track("Recommending", total) as step, closing(answering):
            for part in answering:
                done += plan.size(part)
                step(plan.size(part), f"{done / (time.perf_counter() - started):,.0f} users/s")
        folder.join(plan)
    degraded = _degraded(target)
    return Summary(target, plan, done, time.perf_counter() - started, *degraded)


def _plan(home: Home, asked: Wanted, folder: PartsFolder, restart: bool, wall: Callable[[], int]) -> Plan:
    """The plan of the run that was stopped here, or a new one."""
    version = home.models().active()
    if version is None:
        raise HomeError(f"{home.directory}: no model version is published yet. `upnext train` makes one.")
    ids = read_ids(asked.users)
    wanted = {
        "model_version": version,
        "settings": _settings(home.config),
        "asked": digest(ids, asked.unknown),
        "n": asked.n,
        "surface": asked.surface,
        "explore": asked.explore,
    }
    found = None if restart else folder.plan()
    if found is not None:
        _check_same(folder, found, wanted)
        return found
    folder.clear()
    log = home.log()
    try:
        moment = freeze(home, log, folder.path, wall)
    finally:
        log.close()
    if asked.surface and asked.surface not in moment.surfaces:
        raise ConfigError(f"--surface {asked.surface!r}: no event names it{nearest(asked.surface, moment.surfaces)}")
    users = with_codes(ids, moment.users, asked.unknown, asked.users)
    users.write_parquet(folder.path / ASKED)
    plan = Plan(
        **wanted,
        run=uuid.uuid4().hex[:12],
        log_offset=moment.offset,
        now=moment.now,
        users=len(users),
        part=_part(len(users)),
    )
    folder.begin(plan)
    return plan


def _part(users: int) -> int:
    """Users a part; from AT_ONCE on, a multiple of it."""
    even = min(max(-(-users // PARTS), SMALLEST), LARGEST)
    return even if even <= AT_ONCE else -(-even // AT_ONCE) * AT_ONCE


def _check_same(folder: PartsFolder, found: Plan, wanted: dict[str, object]) -> None:
    """Raises StorageError where the parts that are there answer another question."""
    other = [
        _difference(name, getattr(found, name), now) for name, now in wanted.items() if getattr(found, name) != now
    ]
    if other:
        told = ", ".join(other)
        raise StorageError(f"{folder.path}: an unfinished run is there, with {told}. Finish that one, or {AGAIN}.")


def _difference(name: str, was: object, now: object) -> str:
    if name in ("settings", "asked"):  # digests say nothing to anybody
        return f"other {'users' if name == 'asked' else name}"
    return f"{name} {was!r} instead of {now!r}"


def _settings(config: Config) -> str:
    """How it is served changes no answer."""
    return config.model_copy(update={"serving": ServingConfig()}).digest()


def _check_target(target: Path) -> None:
    if target.suffix != ".parquet":
        raise ConfigError(f"--out {target}: answers are written as Parquet. Name a file that ends in .parquet.")
    if target.is_dir():
        raise ConfigError(f"--out {target}: is a folder. Name a file in it.")
    if not target.parent.is_dir():
        raise ConfigError(f"--out {target}: cannot be written, because {target.parent} is no folder. Make it first.")


def _degraded(target: Path) -> tuple[int, str | None]:
    lacking = pl.scan_parquet(target).filter(pl.col("degraded").is_not_null())
    found = lacking.select(pl.col("user_id").n_unique(), pl.col("degraded").first()).collect()
    count, example = found.row(0)
    return int(count), example
