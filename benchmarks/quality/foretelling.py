"""The tables of KuaiRand: a line a task and measure with intervals and differences; and what slates would be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.quality import homes, ranking, visits
from benchmarks.quality.choosing import Wanted
from benchmarks.quality.ranking import Predicted, Rows
from benchmarks.quality.results import OURS, table
from benchmarks.quality.visits import Shown
from benchmarks.quality.weighted import BINARY, SECONDS, draws
from upnext.types import Float64

PEER = "LightGBM"


def run(wanted: Wanted) -> tuple[dict[str, Any], list[Table]]:
    home = ranking.home_of(wanted.data, wanted.work)
    train, test = ranking.train_and_test(home)
    runs: dict[str, list[Predicted]] = {}
    seconds: dict[str, list[float]] = {}
    asked: list[Shown] = []
    if wanted.ours:
        runs[OURS], seconds[OURS] = [], []
        source = homes.Source((), ranking.UNTIL, 0)
        for seed in wanted.seeds:
            seconds[OURS].append(homes.trained(home, source, seed, wanted.settings).fit_seconds)
            runs[OURS].append(ranking.predict(home))
            asked.append(visits.first_visits(home, wanted.settings))
    if wanted.peers:
        folder = wanted.work / "peers"
        runs[PEER], seconds[PEER] = ranking.boosted(wanted.python, train, test, folder, wanted.seeds)
    found = {
        "rows": {"train": len(train.user), "test": len(test.user)},
        "features of LightGBM": train.x.shape[1],
        "fit CPU seconds": seconds,
        "measures": measured(test, runs),
    }
    tables = [shown(found["measures"], list(runs))]
    if asked:
        found["visits"] = visits.measured(asked)
        title = f"kuairand-pure: upnext at the first visit of {len(asked[0].truth):,} users"
        tables.append(table(title, found["visits"], visits.MEASURES, "source"))
    return found, tables


def measured(test: Rows, runs: dict[str, list[Predicted]]) -> list[dict[str, Any]]:
    """The 95 % intervals are over users, the same resamples for all, so the differences are paired."""
    users, user = np.unique(test.user, return_inverse=True)
    samples = [np.ones(len(users)), *draws(len(users))]
    found = []
    for task, label in test.label.items():
        for name, measure in (SECONDS if label.max(initial=0) > 1 else BINARY).items():
            line: dict[str, Any] = {"task": task, "measure": name, "positives": int((label > 0).sum())}
            drawn: dict[str, Float64] = {}
            for system, predictions in runs.items():
                of = [measure(user, label, run[task]) for run in predictions if task in run]
                if not of:
                    continue
                values = np.array([[each(weight) for weight in samples] for each in of])  # [runs, 1 + samples]
                drawn[system] = values.mean(axis=0)
                line[system] = {"runs": values[:, 0].tolist(), **_interval(drawn[system][1:])}
            if len(drawn) == 2:
                difference = drawn[OURS] - drawn[PEER]
                line["difference"] = {"mean": float(difference[0]), **_interval(difference[1:])}
            found.append(line)
    return found


def shown(lines: Sequence[dict[str, Any]], systems: Sequence[str]) -> Table:
    table = Table("task", "measure", title="kuairand-pure: 95 % intervals over users", title_justify="left")
    for system in (*systems, *(["difference"] if len(systems) == 2 else [])):
        table.add_column(system, justify="right")
    for line in lines:
        found = (_cell(line[system]) if system in line else "" for system in systems)
        cells = [line["task"], line["measure"], *found]
        if "difference" in line:
            cells.append(f"{line['difference']['low']:+.4f} .. {line['difference']['high']:+.4f}")
        table.add_row(*cells)
    return table


def _cell(entry: dict[str, Any]) -> str:
    spread = f" ± {np.std(entry['runs'], ddof=1):.4f}" if len(entry["runs"]) > 1 else ""
    return f"{np.mean(entry['runs']):.4f}{spread} ({entry['low']:.4f} .. {entry['high']:.4f})"


def _interval(values: Float64) -> dict[str, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}
