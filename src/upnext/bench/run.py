"""``upnext bench``: a home of a given size, the real server over it, and what both cost. Read top to bottom.

made by the commands that anybody uses -> started from its artifacts -> asked one at a time -> at rising rates ->
with more and fewer candidates -> looked into without HTTP
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from upnext.bench.drive import Asked, ask
from upnext.bench.home import Prepared, Size, bytes_on_disk, prepare
from upnext.bench.inside import Inside, look_inside
from upnext.bench.server import serving
from upnext.config import Config
from upnext.home import Home

WARM_UP = 100  # requests that do not count
FEWER = 5  # a fifth of the requests for each number of candidates
USERS = 500  # who are asked for
INSIDE, EXACTLY = 200, 100  # of them without HTTP, and with an exact search
LONG_HISTORY = 50  # events
CALM, FASTER, RATES = 0.4, 1.25, 20  # the first rate, as a share of what one client at a time got, and how it rises
MOST_MS = 100.0  # p99 at the highest rate that counts
MOST_REFUSED = 0.01


@dataclass(frozen=True, slots=True)
class Effort:
    """How long the server is asked: less is quicker, and says less about p99. And with which settings."""

    requests: int = 1000  # one after the other
    seconds: float = 8.0  # at each rate
    settings: tuple[str, ...] = ()  # key=value, other than the defaults
    workers: int = 1  # processes of the server


@dataclass(frozen=True)
class AtRate:
    """Requests that came at a rate, whether or not the server kept up."""

    rate: float
    asked: Asked

    @property
    def answered(self) -> float:
        """A second."""
        return len(self.asked.took) / self.asked.seconds

    @property
    def refused(self) -> float:
        """The share of requests that got no answer."""
        missing = len(self.asked.refused) + len(self.asked.failed)
        return missing / max(missing + len(self.asked.took), 1)

    @property
    def kept(self) -> bool:
        took = self.asked.took
        return bool(took) and float(np.percentile(took, 99)) <= MOST_MS and self.refused <= MOST_REFUSED


@dataclass
class Measured:
    """Everything that a run found. Milliseconds, MB, seconds."""

    prepared: Prepared
    machine: str
    workers: int  # processes of the server
    made_before: bool  # the home was there already: what its commands took is of then
    training: list[tuple[str, float]] = field(default_factory=list)  # seconds a step
    disk: dict[str, int] = field(default_factory=dict)  # bytes a part
    from_log_s: float | None = None  # the first start, when there is no saved state yet
    cold_start_s: float = 0.0  # nothing in the page cache
    warm_start_s: float = 0.0  # all files in it
    resident_mb: float = 0.0  # after all requests
    light: Asked = field(default_factory=Asked)
    cpu_ms: float | None = None  # of the server, for each of the light requests
    rates: list[AtRate] = field(default_factory=list)
    candidates: dict[int, Asked] = field(default_factory=dict)
    inside: Inside | None = None

    @property
    def best_rate(self) -> AtRate | None:
        """The highest rate at which p99 stayed below MOST_MS and hardly anything was refused."""
        kept = [rate for rate in self.rates if rate.kept]
        return kept[-1] if kept else None


def bench(
    directory: Path, size: Size, numbers: Sequence[int], say: Callable[[str], None], effort: Effort = Effort()
) -> Measured:
    """Measure a home of this size in ``directory``; ``numbers`` of candidates are asked for besides the configured."""
    before = directory.exists()
    prepared = prepare(directory, size, say, effort.settings)
    home = prepared.home
    found = Measured(prepared, machine(), effort.workers, before)
    _, manifest = home.models().open()
    found.training = [(str(name), float(seconds)) for name, seconds in manifest.metrics.get("seconds", [])]
    users = active_users(home)
    if not (directory / "var" / "state.npz").exists():
        say("The server, for the first time: it reads the whole log")
        with serving(directory, effort.settings, effort.workers) as server:
            found.from_log_s = server.start_s
    say("The server, from its artifacts")
    evict(directory / "var")
    with serving(directory, effort.settings, effort.workers) as server:
        found.cold_start_s = server.start_s
        ask(server.port, users, WARM_UP)
        say(f"{effort.requests:,} requests, one after the other")
        before_s = server.cpu_s()
        found.light = ask(server.port, users, effort.requests)
        after_s = server.cpu_s()
        found.cpu_ms = None if before_s is None or after_s is None else 1000 * (after_s - before_s) / effort.requests
        alone = 1000 / float(np.median(found.light.took or [1000.0]))
        found.rates = list(_rates(server.port, users, CALM * alone, effort.seconds, say))
        found.resident_mb = server.resident_mb()
    with serving(directory, effort.settings, effort.workers) as server:
        found.warm_start_s = server.start_s
    fewer = max(effort.requests // FEWER, 1)
    for number in numbers:
        say(f"{fewer:,} requests with {number:,} candidates")
        settings = (*effort.settings, *_with_candidates(home.config, number))
        with serving(directory, settings, effort.workers) as server:
            ask(server.port, users, WARM_UP)
            found.candidates[number] = ask(server.port, users, fewer)
    found.disk = bytes_on_disk(home)
    say("The same funnel without HTTP, then with an exact search")
    found.inside = look_inside(home, users[:INSIDE], EXACTLY)
    return found


def _rates(
    port: int, users: Sequence[str], rate: float, seconds: float, say: Callable[[str], None]
) -> Iterator[AtRate]:
    """From ``rate`` a second on faster and faster, until two rates in a row were too fast."""
    lost = 0
    for _ in range(RATES):
        found = AtRate(rate, ask(port, users, max(int(rate * seconds), 1), rate))
        yield found
        p99 = f"{np.percentile(found.asked.took, 99):,.0f}" if found.asked.took else "-"
        say(f"{rate:,.0f} requests/s: {found.answered:,.0f} answered, p99 {p99} ms, {found.refused:.1%} refused")
        lost = 0 if found.kept else lost + 1
        if lost == 2:
            return
        rate *= FASTER
        time.sleep(min(1.0, seconds))  # what still waits is answered


def _with_candidates(config: Config, number: int) -> tuple[str, ...]:
    """Settings under which so many candidates reach the ranker: all quotas change in proportion."""
    c = config.candidates
    names = [name for name in type(c).model_fields if name != "total"]
    quotas = {name: max(1, round(getattr(c, name).quota * number / c.total)) for name in names}
    return (f"candidates.total={number}", *(f"candidates.{name}.quota={quota}" for name, quota in quotas.items()))


def active_users(home: Home) -> list[str]:
    """Users with at least LONG_HISTORY acts; where these are fewer than USERS, those with the most. In random order."""
    log = home.log()
    try:
        events, names = log.read_events(), log.ids("user")
        shown = [code for code, name in enumerate(log.ids("event_type")) if name in ("impression", "seen")]
    finally:
        log.close()
    acts = np.bincount(events.user[~np.isin(events.type, shown) & (events.user >= 0)], minlength=len(names))
    order = np.argsort(-acts, kind="stable")
    many = order[: max(int((acts >= LONG_HISTORY).sum()), min(USERS, len(order)))]
    chosen = np.random.default_rng(0).permutation(many)[:USERS]
    return [names[code] for code in chosen.tolist()]


def evict(folder: Path) -> None:
    """Let the operating system forget the files' pages, where it can: a cold start reads them from the disk."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


def machine() -> str:
    """Processor, cores, system, Python."""
    model = platform.processor() or platform.machine()
    if (told := Path("/proc/cpuinfo")).exists():
        lines = told.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
