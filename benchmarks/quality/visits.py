"""KuaiRand: what the funnel, and each of its sources alone, would have shown at the first visit of the test days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality.lists import Top
from benchmarks.quality.metrics import Measure
from benchmarks.quality.results import System, plain
from benchmarks.quality.split import Lists
from upnext.evaluation import slates
from upnext.evaluation.results import BASELINE, BEFORE, FUNNEL, UNION
from upnext.evaluation.run import held_out
from upnext.home import Home
from upnext.training.interactions import positive_rows
from upnext.training.progress import Silent

USERS = 4000
MEASURES = (Measure("ndcg", 10), Measure("recall", 10))


@dataclass(frozen=True, slots=True)
class Shown:
    """A list of items a visit for each way of choosing, and what the visitors turned to from then on."""

    tops: Mapping[str, Top]
    truth: Lists
    items: int


def first_visits(directory: Path, settings: Sequence[str] = ()) -> Shown:
    """By the active version, as `upnext evaluate` shows them; the same USERS visitors for every version."""
    home = Home.open(directory, tuple(settings))
    log = home.log()
    try:
        held = held_out(home, log)
        live, events = held.live, held.events
        positive = positive_rows(events, live.roles.weight, live.roles.least)
        asked = slates.visits(events, positive, held.manifest.until_ms, USERS, seed=0)
        found = slates.show(held.model, live, home.config, events, held.applied, asked, Silent())
        items = len(live.catalogue())
    finally:
        log.close()
    tops = {name: Top.in_order(found[name][:, :10]) for name in found.lists if name != UNION}
    return Shown(tops, Lists(asked.truth.offsets, asked.truth.item), items)


def measured(runs: Sequence[Shown]) -> list[dict[str, Any]]:
    """Every way, and the interval of its difference to the best source alone."""
    systems = []
    for name in runs[0].tops:
        system = System(name)
        for run in runs:
            system.add(run.tops[name], run.truth, MEASURES, run.items, float("nan"))
        systems.append(system)
    whole = (FUNNEL, BEFORE, BASELINE)
    return plain(systems, [system for system in systems if system.name not in whole], MEASURES)
