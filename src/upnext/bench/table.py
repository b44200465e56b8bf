"""What a benchmark found: a table for the terminal, and the same figures for a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from upnext.bench.run import Measured

PERCENTILES = (50, 95, 99)


def show(found: Measured) -> RenderableType:
    size, prepared = found.prepared.size, found.prepared
    title = f"{size.items:,} items, {size.users:,} users, {size.impressions:,} impressions"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    about = [Text(title, style="bold"), Text(f"{found.machine}; {when}", style="dim")]
    if found.made_before:
        made = datetime.fromtimestamp(prepared.made_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        about.append(Text(f"The home is from {made}, and so is what making it took.", style="dim"))
    if found.workers > 1:
        about.append(Text(f"The server is {found.workers} processes", style="dim"))
    if prepared.settings:
        about.append(Text(f"With {', '.join(prepared.settings)}", style="dim"))
    return Group(*about, _answers(found), _load(found), *_candidates(found), _making(found), _memory(found))


def figures(found: Measured) -> dict[str, Any]:
    """Everything by name, for ``--json``."""
    size, best, inside = found.prepared.size, found.best_rate, found.inside
    return {
        "items": size.items,
        "users": size.users,
        "impressions": size.impressions,
        "settings": list(found.prepared.settings),
        "workers": found.workers,
        "machine": found.machine,
        "light": {**_percentiles(found.light.took), "failed": len(found.light.failed)},
        "CPU ms a request": found.cpu_ms,
        "inside the server": _percentiles(found.light.inside),
        "stages": {name: _percentiles(ms) for name, ms in found.light.stages.items()},
        "candidates ranked, median": _known(_median(found.light.rows)),
        "degraded": found.light.degraded,
        "rates": [
            {
                "asked/s": rate.rate, "answered/s": rate.answered, "refused": rate.refused,
                "degraded": rate.asked.degraded, **_percentiles(rate.asked.took),
            }
            for rate in found.rates
        ],
        "best answered/s": None if best is None else best.answered,
        "candidates": {number: _percentiles(asked.took) for number, asked in found.candidates.items()},
        "kernels": None if inside is None else {
            "total": _percentiles(inside.total), "search": _percentiles(inside.search),
            "ranker": _percentiles(inside.ranker), "http total / kernels": _known(ratio(found)),
            "recall@1000": inside.recall, "slate overlap@10": inside.overlap, "history, median": inside.history,
        },
        "from the log s": found.from_log_s,
        "cold start s": found.cold_start_s,
        "warm start s": found.warm_start_s,
        "resident MB": found.resident_mb,
        "disk bytes": found.disk,
        "training s": found.training,
        "commands": {
            name: {"seconds": took.seconds, "cpu seconds": took.cpu_seconds, "peak MB": took.peak_mb}
            for name, took in found.prepared.took.items()
        },
    }  # fmt: skip


def ratio(found: Measured) -> float:
    """A request over HTTP against its two kernels, medians: 1 would be no overhead at all."""
    if found.inside is None or not found.light.took:
        return float("nan")
    kernels = np.median(np.add(found.inside.search, found.inside.ranker))
    return float(np.median(found.light.took) / kernels)


def _answers(found: Measured) -> Table:
    table = _table("One request at a time", *(f"p{p} ms" for p in PERCENTILES))
    _row(table, "over HTTP", found.light.took)
    _row(table, "inside the server", found.light.inside)
    for name, ms in found.light.stages.items():
        _row(table, f"  {name}", ms, style="dim")
    inside = found.inside
    if inside is not None:
        _row(table, "kernel: search of the item index", inside.search)
        _row(table, "kernel: run of the ranker", inside.ranker)
        table.add_row("over HTTP / both kernels, medians", f"{ratio(found):.2f}")
        table.add_row("recall@1000 of the index", f"{inside.recall:.4f}")
        table.add_row("slate overlap@10 with an exact search", f"{inside.overlap:.4f}")
        table.add_row("events attended to, median", f"{inside.history:.0f}")
    if found.cpu_ms is not None:
        table.add_row("CPU of the server a request", f"{found.cpu_ms:.2f}")
    table.add_row("candidates ranked, median", f"{_median(found.light.rows):,.0f}")
    table.add_row("degraded, failed", f"{sum(found.light.degraded.values())}, {len(found.light.failed)}")
    return table


def _load(found: Measured) -> Table:
    table = _table("Requests at a rate", "answered/s", *(f"p{p} ms" for p in PERCENTILES), "refused", "degraded")
    best = found.best_rate
    for rate in found.rates:
        took, degraded = rate.asked.took, sum(rate.asked.degraded.values()) / max(len(rate.asked.took), 1)
        cells = [f"{rate.answered:,.0f}", *_cells(took), f"{rate.refused:.1%}", f"{degraded:.1%}"]
        table.add_row(f"{rate.rate:,.0f}/s", *cells, style="bold" if rate is best else "")
    return table


def _candidates(found: Measured) -> Iterator[Table]:
    if found.candidates:
        table = _table("Candidates", "ranked", *(f"p{p} ms" for p in PERCENTILES))
        for number, asked in found.candidates.items():
            table.add_row(f"{number:,}", f"{_median(asked.rows):,.0f}", *_cells(asked.took))
        yield table


def _making(found: Measured) -> Table:
    table = _table("Making it", "seconds", "CPU s", "peak MB")
    for name, took in found.prepared.took.items():
        table.add_row(f"upnext {name}", f"{took.seconds:,.1f}", f"{took.cpu_seconds:,.1f}", f"{took.peak_mb:,.0f}")
    for name, seconds in found.training:
        table.add_row(f"  {name}", f"{seconds:,.1f}", style="dim")
    if found.from_log_s is not None:
        table.add_row("first start, from the log", f"{found.from_log_s:,.1f}")
    table.add_row("start from artifacts, no file in memory", f"{found.cold_start_s:,.1f}")
    table.add_row("start from artifacts, files in memory", f"{found.warm_start_s:,.1f}")
    return table


def _memory(found: Measured) -> Table:
    table = _table("Memory and disk", "MB")
    table.add_row("server, resident", f"{found.resident_mb:,.0f}")
    for name, size in found.disk.items():
        table.add_row(f"disk: {name}", f"{size / 1e6:,.0f}")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, title=f"\n{title}", title_justify="left", title_style="bold")
    table.add_column("", min_width=40)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _row(table: Table, name: str, ms: Sequence[float], style: str = "") -> None:
    table.add_row(name, *_cells(ms), style=style)


def _cells(ms: Sequence[float]) -> list[str]:
    return [f"{np.percentile(ms, p):,.2f}" if len(ms) else "-" for p in PERCENTILES]


def _percentiles(ms: Sequence[float]) -> Mapping[str, float | None]:
    return {f"p{p} ms": float(np.percentile(ms, p)) if len(ms) else None for p in PERCENTILES}


def _known(value: float) -> float | None:
    """JSON knows no NaN."""
    return value if np.isfinite(value) else None


def _median(values: Sequence[float] | Sequence[int]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
