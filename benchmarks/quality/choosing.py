"""Which items come next: upnext, its stages and the peers on one split, and what was measured of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.quality import homes
from benchmarks.quality.datasets import format_of, load, warm_pairs
from benchmarks.quality.funnel import DEPTH, SLATE, UNION, Stages, ask
from benchmarks.quality.lists import Top
from benchmarks.quality.metrics import Measure
from benchmarks.quality.results import OURS, System, plain, table
from benchmarks.quality.running import read_fitted, run_peers
from benchmarks.quality.split import Lists, Split, Splits

RECALL, NDCG = "recall", "ndcg"
MEASURES: Mapping[str, tuple[Measure, ...]] = {
    "sequences": (Measure(RECALL, 10), Measure(NDCG, 10)),
    "check-ins": (Measure(RECALL, 20), Measure(NDCG, 20)),
    "ratings": (Measure(NDCG, 10), Measure(RECALL, 10), Measure(RECALL, 100)),
}
COLD = (Measure(RECALL, 20), Measure(NDCG, 10))
COLD_DEPTH = 20
OF_UNION = Measure(RECALL, DEPTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for on the command line. ``work`` keeps the home and the peers' lists."""

    dataset: str
    data: Path
    work: Path
    seeds: tuple[int, ...]
    ours: bool = True
    peers: bool = True
    only: tuple[str, ...] = ()  # peers; none = all
    python: Path = Path(".venv-peers/bin/python")
    fitted: Path | None = None  # a folder with lists of peers that were fitted apart
    settings: tuple[str, ...] = ()  # overrides of upnext's defaults, for experiments


@dataclass(frozen=True, slots=True)
class Answered:
    """A top list a run of one system."""

    name: str
    runs: Sequence[Top]
    fit_seconds: Sequence[float]
    note: str = ""


def run(wanted: Wanted) -> tuple[dict[str, Any], list[Table]]:
    """Everything measured, as JSON and as tables."""
    splits = load(wanted.dataset, wanted.data)
    measures = MEASURES[format_of(wanted.dataset)]
    k = max(*(measure.k for measure in measures), COLD_DEPTH)
    stages, seconds = _ours(wanted, splits.test, k) if wanted.ours else ([], [])
    answered = [Answered(OURS, [stage.tops[SLATE] for stage in stages], seconds, _notes(stages))] if stages else []
    peers = _peers(wanted, splits, k)
    found = _measured(splits.test, answered, peers, measures)
    tables = [table(f"{wanted.dataset}: systems", found["systems"], measures, "peer")]
    if stages:
        found["stages"] = _stages(splits.test, stages, measures)
        tables.append(table(f"{wanted.dataset}: upnext, stage by stage", found["stages"], _deep(measures), "source"))
    for name, rows in found.get("cold", {}).items():
        tables.append(table(f"{wanted.dataset}: {name} ({found['pairs'][name]:,} pairs)", rows, COLD, "peer"))
    return found, tables


def _ours(wanted: Wanted, split: Split, k: int) -> tuple[list[Stages], list[float]]:
    """One training and one pass over the users a seed, in one home."""
    home, source = homes.imported(wanted.dataset, split, wanted.data, wanted.work)
    stages, seconds = [], []
    for seed in wanted.seeds:
        trained = homes.trained(home, source, seed, wanted.settings)
        stages.append(ask(trained.directory, split, trained.now, k, wanted.settings))
        seconds.append(trained.fit_seconds)
    return stages, seconds


def _peers(wanted: Wanted, splits: Splits, k: int) -> list[Answered]:
    found = (
        run_peers(wanted.python, splits, wanted.work / "peers", k, wanted.seeds, wanted.only) if wanted.peers else []
    )
    found += read_fitted(wanted.fitted, wanted.dataset, splits.test) if wanted.fitted else []
    return [Answered(peer.name, peer.runs, peer.fit_seconds, peer.note) for peer in found]


def _measured(
    split: Split, ours: Sequence[Answered], peers: Sequence[Answered], measures: Sequence[Measure]
) -> dict[str, Any]:
    items = len(split.items)
    found: dict[str, Any] = {
        "users": len(split.asked),
        "items": items,
        "systems": _rows(ours, peers, split.truth.take(split.asked), measures, items),
    }
    parts = {name: split.with_truth(mask) for name, mask in warm_pairs(split).items()}
    if split.cold_users[split.asked].any():
        found["pairs"] = {name: len(part.truth.item) for name, part in parts.items()}
        found["cold"] = {
            name: _rows(ours, peers, part.truth.take(split.asked), COLD, items) for name, part in parts.items()
        }
    return found


def _rows(
    ours: Sequence[Answered], peers: Sequence[Answered], truth: Lists, measures: Sequence[Measure], items: int
) -> list[dict[str, Any]]:
    """Every system against one truth (a row an asked user)."""
    mine, others = ([_system(one, truth, measures, items) for one in group] for group in (ours, peers))
    return plain([*mine, *others], others, measures)


def _system(answered: Answered, truth: Lists, measures: Sequence[Measure], items: int) -> System:
    system = System(answered.name, note=answered.note)
    for top, seconds in zip(answered.runs, answered.fit_seconds, strict=True):
        system.add(top, truth, measures, items, seconds)
    return system


def _stages(split: Split, stages: Sequence[Stages], measures: Sequence[Measure]) -> list[dict[str, Any]]:
    """Each source in its own order, the union, the orders of fusion and ranker, and the slate."""
    truth, nothing, items = split.truth.take(split.asked), [np.nan] * len(stages), len(split.items)

    def measured(name: str, by: Sequence[Measure]) -> System:
        return _system(Answered(name, [stage.tops[name] for stage in stages], nothing), truth, by, items)

    names = list(stages[0].tops)
    systems = [measured(name, measures) for name in names if name != UNION]
    rows = plain(systems, systems[: names.index(UNION)], measures)
    union = plain([measured(UNION, [OF_UNION])], [], [OF_UNION])[0]  # it has no order of its own, only a depth
    return [*rows[: names.index(UNION)], union, *rows[names.index(UNION) :]]


def _deep(measures: Sequence[Measure]) -> tuple[Measure, ...]:
    return (*measures, OF_UNION)


def _notes(stages: Sequence[Stages]) -> str:
    return "; ".join(sorted({note for stage in stages for note in stage.notes}))
