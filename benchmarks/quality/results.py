"""What was measured, a system and a seed at a time, and the two tables that are printed of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.quality.lists import Top
from benchmarks.quality.metrics import Float64, Measure, coverage, mean, paired
from benchmarks.quality.split import Lists

OURS = "upnext"


@dataclass
class System:
    """The answers of one system, a run a seed; a system without chance has one run."""

    name: str
    runs: list[Mapping[str, Float64]] = field(default_factory=list)  # measure -> a number a user
    coverage: list[float] = field(default_factory=list)
    fit_seconds: list[float] = field(default_factory=list)
    note: str = ""  # settings, or what was degraded

    def add(self, top: Top, truth: Lists, measures: Sequence[Measure], items: int, seconds: float) -> None:
        self.runs.append({str(measure): measure(top, truth) for measure in measures})
        self.coverage.append(coverage(top, 10, items))
        self.fit_seconds.append(seconds)

    def of(self, measure: str) -> Float64:
        """A number a run."""
        return np.array([mean(run[measure]) for run in self.runs])

    def per_user(self, measure: str) -> Float64:
        """The mean over the runs."""
        return np.asarray(np.mean([run[measure] for run in self.runs], axis=0))


def best(systems: Sequence[System], measure: str) -> System | None:
    """That with the highest mean."""
    return max(systems, key=lambda system: float(system.of(measure).mean()), default=None)


def plain(systems: Sequence[System], others: Sequence[System], measures: Sequence[Measure]) -> list[dict[str, Any]]:
    """Every system as JSON; ``difference`` is the interval of its difference to the best of the others."""
    rows = []
    for system in systems:
        row: dict[str, Any] = {"system": system.name, "runs": len(system.runs), "note": system.note}
        for measure in map(str, measures):
            row[measure] = [float(value) for value in system.of(measure)]
            other = best([peer for peer in others if peer is not system], measure)
            if other is not None:
                interval = paired(system.per_user(measure), other.per_user(measure))
                row[f"{measure} difference"] = {"to": other.name, "low": interval[0], "high": interval[1]}
        row["coverage@10"] = system.coverage
        row["fit CPU seconds"] = system.fit_seconds
        rows.append(row)
    return rows


def table(title: str, rows: Sequence[Mapping[str, Any]], measures: Sequence[Measure], against: str) -> Table:
    """A line a system: the mean over the seeds, its spread, and the interval of the difference."""
    shown = Table("system", title=title, title_justify="left")
    compared = {name for name in map(str, measures) if any(f"{name} difference" in row for row in rows)}
    for name in map(str, measures):
        shown.add_column(name, justify="right")
        if name in compared:
            shown.add_column(f"to the best {against}", justify="right")
    shown.add_column("coverage@10", justify="right")
    shown.add_column("fit CPU s", justify="right")
    for row in rows:
        cells = [str(row["system"])]
        for name in map(str, measures):
            cells.append(_spread(row.get(name, [])))
            cells += [_interval(row.get(f"{name} difference"))] if name in compared else []
        seconds = [value for value in row["fit CPU seconds"] if np.isfinite(value)]
        took = f"{np.mean(seconds):,.1f}" if seconds else ""
        shown.add_row(*cells, f"{np.mean(row['coverage@10']):.3f}", took)
    return shown


def _spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over the seeds."""
    if not len(values):
        return ""
    middle = f"{np.mean(values):.4f}"
    return middle if len(values) < 2 else f"{middle} ± {np.std(values, ddof=1):.4f}"


def _interval(difference: Mapping[str, Any] | None) -> str:
    return "" if difference is None else f"{difference['low']:+.4f} .. {difference['high']:+.4f}"
