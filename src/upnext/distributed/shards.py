"""Actors that hold the item vectors of a catalogue, each a share, and how a replica asks them all at once.

An actor that dies is started again by Ray and reads its share from the published files. Until it is back, answers go
without it, and say so; then it is told once more which items came since the version was published.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray

from upnext.build import RANKER, TWO_TOWER, load_shares
from upnext.candidates.spread import SpreadSpace, SpreadTable
from upnext.errors import UpnextError
from upnext.home import Home

_LOG = logging.getLogger("upnext.distributed")

NAMESPACE = "upnext"
VERSIONS = 2  # that an actor holds at once: the active one, and the one that requests under way still read
ANSWER_S = 0.3  # from here on a shard is taken for away
LOOK_S = 0.2  # between looks whether it is back
OPEN_S = 600.0  # for reading a share of a large version
AT_ONCE = 8  # calls that an actor answers side by side


class Shard:
    """The body of an actor: one share of every version that is asked for."""

    def __init__(self, directory: str, overrides: Sequence[str], share: int, shares: int) -> None:
        self._home, self._share, self._shares = Home.open(Path(directory), overrides), share, shares
        self._held: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._opening = threading.Lock()

    def open(self, version: str) -> dict[str, Any]:
        """Read the share of this version, unless it is held; where items lie and how long vectors are, by name."""
        with self._opening:
            if version not in self._held:
                directory, _ = self._home.models().open(version)
                self._held[version] = load_shares(directory, self._share, self._shares)
                while len(self._held) > VERSIONS:
                    self._held.popitem(last=False)
            return {name: (places, size) for name, (places, size, _) in self._held[version].items()}

    def ask(self, version: str, name: str, verb: str, arguments: tuple[Any, ...]) -> Any:
        """Raises KeyError for a version that is not held: this actor was started anew."""
        return getattr(self._held[version][name][2], verb)(*arguments)

    def process(self) -> int:
        import os

        return os.getpid()


def start_shards(directory: Path, overrides: Sequence[str], shares: int, version: str | None) -> list[Any]:
    """Start the actors of a home and wait until each holds the active version."""
    actor = ray.remote(Shard)
    actors = [
        actor.options(
            name=_name(directory, share),
            namespace=NAMESPACE,
            max_restarts=-1,
            max_concurrency=AT_ONCE,
            num_cpus=1,
            scheduling_strategy="SPREAD",
        ).remote(str(directory), tuple(overrides), share, shares)
        for share in range(shares)
    ]
    if version is not None:
        try:
            ray.get([each.open.remote(version) for each in actors], timeout=OPEN_S)
        except ray.exceptions.GetTimeoutError:
            raise UpnextError(
                f"{shares} shards have not started within {OPEN_S:.0f} s; has the cluster a free core for each?"
            ) from None
        except ray.exceptions.RayTaskError as error:
            raise UpnextError(f"a shard cannot read version {version}: {error.cause}") from None
    return actors


class Shards:
    """build.Elsewhere, over the actors that ``start_shards`` started for the same home."""

    def __init__(self, directory: Path, shares: int) -> None:
        self._actors = [ray.get_actor(_name(directory, share), NAMESPACE) for share in range(shares)]
        self._away: set[int] = set()
        self._lock = threading.Lock()
        self._tables: OrderedDict[str, list[SpreadTable]] = OrderedDict()  # by version

    def space(self, version: str) -> SpreadSpace | None:
        found = self._open(version).get(TWO_TOWER)
        return None if found is None else self._kept(version, SpreadSpace(self._ask(version, TWO_TOWER), *found))

    def table(self, version: str) -> SpreadTable:
        return self._kept(version, SpreadTable(self._ask(version, RANKER), *self._open(version)[RANKER]))

    def lacking(self) -> Sequence[str]:
        away, shares = sorted(self._away), len(self._actors)
        return [f"shards: {share + 1} of {shares} is away, its items are missing" for share in away]

    def _open(self, version: str) -> dict[str, Any]:
        return ray.get([actor.open.remote(version) for actor in self._actors], timeout=OPEN_S)[0]

    def _kept(self, version: str, table: Any) -> Any:
        with self._lock:
            self._tables.setdefault(version, []).append(table)
            while len(self._tables) > VERSIONS:
                self._tables.popitem(last=False)
        return table

    def _ask(self, version: str, name: str) -> Any:
        return partial(self._asked, version, name)

    def _asked(self, version: str, name: str, verb: str, wanted: Sequence[tuple[Any, ...] | None]) -> list[Any]:
        calls = {
            self._actors[share].ask.remote(version, name, verb, arguments): share
            for share, arguments in enumerate(wanted)
            if arguments is not None and share not in self._away
        }
        found: list[Any] = [None] * len(wanted)
        patience = OPEN_S if verb in ("rebuild", "recall") else ANSWER_S
        ready, late = ray.wait(list(calls), num_returns=len(calls), timeout=patience) if calls else ([], [])
        for call in late:
            self._lose(calls[call], "does not answer")
        for call in ready:
            try:
                found[calls[call]] = ray.get(call)
            except (ray.exceptions.RayError, KeyError) as error:
                self._lose(calls[call], type(error).__name__)
        return found

    def _lose(self, share: int, why: str) -> None:
        with self._lock:
            if share in self._away:
                return
            self._away.add(share)
        _LOG.warning("shard %d of %d: %s; answers go without it", share + 1, len(self._actors), why)
        threading.Thread(target=self._await, args=(share,), name=f"shard {share}", daemon=True).start()

    def _await(self, share: int) -> None:
        """Until it is back, and knows all that it knew."""
        lost, actor = time.monotonic(), self._actors[share]
        while True:
            try:
                with self._lock:
                    known = list(self._tables.items())
                held = [tables for version, tables in known if self._holds(actor, version, known[-1][0])]
                self._away.discard(share)  # what is told now reaches it
                for tables in held:
                    for table in tables:
                        table.again(share)
                break
            except (ray.exceptions.RayError, KeyError):
                time.sleep(LOOK_S)
        _LOG.warning("shard %d of %d is back after %.1f s", share + 1, len(self._actors), time.monotonic() - lost)

    @staticmethod
    def _holds(actor: Any, version: str, serving: str) -> bool:
        """Whether the actor has its share of this version; one that serves no longer may have been deleted."""
        try:
            ray.get(actor.open.remote(version), timeout=OPEN_S)
        except ray.exceptions.RayTaskError:
            if version == serving:
                raise
            return False
        return True


def _name(directory: Path, share: int) -> str:
    return f"{directory.resolve()} {share}"
