"""A home for a data set, made with the commands that a user would give: init, import, train, all with their defaults.

What is imported is what may be known when the questions are asked. The truth is never in the log.
"""

from __future__ import annotations

import csv
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.quality.datasets import format_of
from benchmarks.quality.split import Split

DAY_MS = 86_400_000
NEW_YEAR_2020 = 1_577_836_800_000
NOON = DAY_MS // 2


@dataclass(frozen=True, slots=True)
class Source:
    """What ``upnext import`` is told, until when ``upnext train`` learns (None = everything), and when it is asked."""

    words: tuple[str, ...]
    until: str | None
    now: int


@dataclass(frozen=True, slots=True)
class Trained:
    """A home with a published version, and the CPU seconds of ``upnext train``: others may be at work."""

    directory: Path
    now: int
    fit_seconds: float


def sequences(split: Split, data: Path, folder: Path) -> Source:
    """All but the last item of everybody; the validation item is after ``--until``, and so only history.

    ``upnext import sequences`` gives times: the last event of everybody at noon of 2020-01-01, the one before it a
    day earlier, and so on. So asked a day later, everybody comes back a day after their last event.
    """
    names = split.items.tolist()
    rows = enumerate(split.users.tolist())
    lines = [
        " ".join([user, *(names[item] for item in split.history[row])])
        for row, user in rows
        if split.history.sizes[row]
    ]
    (folder / "sequences.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if (about := data / "attributes.json").exists():
        shutil.copy(about, folder)
    return Source(("sequences", str(folder)), "2020-01-01", NEW_YEAR_2020 + NOON + DAY_MS)


def check_ins(split: Split, data: Path, folder: Path) -> Source:
    """Check-ins without times: they get some in a random order (by a fixed seed), evenly over one day.

    So whatever upnext divides by time it divides at random, and it finds that the order says nothing. The held-out
    check-ins are no such draw (docs/decisions/0015): nothing in the log tells in what they differ.
    """
    size = len(split.fit.item)
    order = np.random.default_rng(0).permutation(size)
    at = NEW_YEAR_2020 + np.arange(size, dtype=np.int64) * DAY_MS // size
    users, items = split.users[split.fit.row[order]], split.items[split.fit.item[order]]
    with (folder / "events.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["event_type", "user_id", "item_id", "happened_at"])
        writer.writerows(zip(["click"] * size, users.tolist(), items.tolist(), at.tolist(), strict=True))
    return Source((str(folder),), None, NEW_YEAR_2020 + DAY_MS)


def ratings(split: Split, data: Path, folder: Path) -> Source:
    """The ratings before the period, and all films."""
    with (folder / "ratings.dat").open("w", encoding="utf-8") as file:
        for line in (data / "ratings.dat").read_text(encoding="utf-8").splitlines():
            if int(line.rpartition("::")[2]) * 1000 < split.now:
                file.write(f"{line}\n")
    shutil.copy(data / "movies.dat", folder)
    return Source(("movielens", str(folder)), None, split.now)


SOURCES: Mapping[str, Callable[[Split, Path, Path], Source]] = {
    "sequences": sequences,
    "check-ins": check_ins,
    "ratings": ratings,
}


def imported(name: str, split: Split, data: Path, folder: Path) -> tuple[Path, Source]:
    """A home in ``folder`` that holds what may be known."""
    inbox, home = folder / "inbox", folder / "home"
    inbox.mkdir(parents=True)
    source = SOURCES[format_of(name)](split, data, inbox)
    upnext("init", str(home))
    upnext("import", f"--home={home}", *source.words)
    return home, source


def trained(home: Path, source: Source, seed: int, settings: tuple[str, ...] = ()) -> Trained:
    """``settings`` are overrides, for experiments: what is published has none."""
    until = () if source.until is None else (f"--until={source.until}",)
    overrides = (f"--set={setting}" for setting in settings)
    before = _cpu_seconds()
    upnext("train", f"--home={home}", f"--seed={seed}", "--force", *until, *overrides)
    return Trained(home, source.now, _cpu_seconds() - before)


def upnext(*words: str) -> None:
    """Run one command; what it prints goes to standard error, so that the tables stay alone."""
    print("$ upnext", *words, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "upnext", *words], check=True, stdout=sys.stderr)


def _cpu_seconds() -> float:
    """Of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
