"""A plan as a table for the terminal, and the same figures for a file, named as those of ``upnext bench``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from upnext.bench.costs import REFERENCE
from upnext.bench.plan import Plan, Training

ACCURACY = (
    "Within 25 % of what upnext bench measured, on a quiet machine, at 300,000 to 10,000,000 items: docs/planning.md"
)
STEPS = ("item vectors", "item index")  # of training, shown by themselves


def show(found: Plan) -> RenderableType:
    w = found.wanted
    title = Text(f"{w.items:,} items, {w.users:,} users, {w.events:,} events", style="bold")
    return Group(
        title,
        Text(_speed(found), style="dim"),
        _making(found),
        _memory(found),
        *_load(found),
        Text(ACCURACY, style="dim"),
    )


def figures(found: Plan) -> dict[str, Any]:
    """Everything by name, for ``--json``. ``commands`` trains as ``upnext bench`` does, briefly."""
    return {
        **asdict(found.wanted),
        "speed": asdict(found.speed),
        "from the log s": found.from_log_s,
        "cold start s": found.cold_start_s,
        "resident MB": found.resident_mb,
        "disk bytes": found.disk,
        "training s": found.brief.steps,
        "commands": {
            "import": {"seconds": found.import_s},
            "train": {"seconds": found.brief.seconds, "peak MB": found.brief.peak_mb},
        },
        "default training": {
            "seconds": found.full.seconds, "peak MB": found.full.peak_mb, "training s": found.full.steps,
        },
        "load": asdict(found.load),
    }  # fmt: skip


def _speed(found: Plan) -> str:
    if not found.speed.measured:
        return f"Seconds are those of {REFERENCE}; without --no-calibrate they are of this machine."
    matrix, loops = found.speed.matrix, found.speed.loops
    return (
        f"Seconds are of this machine now: half a second of trying shows {matrix:.2f} times the matrix products and "
        f"{loops:.2f} times the plain Python of {REFERENCE}."
    )


def _making(found: Plan) -> Table:
    table = _table("Making it", "default settings", "as bench trains")
    table.add_row("upnext import", duration(found.import_s), duration(found.import_s))
    both = (found.full, found.brief)
    table.add_row("upnext train, at most", *(duration(training.seconds) for training in both))
    for name in STEPS:
        table.add_row(f"  of it {name}", *(duration(training.of(name)) for training in both), style="dim")
    table.add_row("memory while training", *(_memory_of(training) for training in both))
    table.add_row("first start, no saved state yet", duration(found.from_log_s), duration(found.from_log_s))
    table.add_row("cold start, from artifacts", duration(found.cold_start_s), duration(found.cold_start_s))
    return table


def _memory_of(training: Training) -> str:
    return f"{training.peak_mb:,.0f} MB"


def _memory(found: Plan) -> Table:
    table = _table("Memory and disk", "MB")
    table.add_row("server, resident", f"{found.resident_mb:,.0f}")
    for name, size in found.disk.items():
        table.add_row(f"disk: {name}", f"{size / 1e6:,.0f}", style="dim")
    table.add_row("disk, all", f"{found.disk_total / 1e6:,.0f}")
    return table


def _load(found: Plan) -> Iterator[RenderableType]:
    w, load = found.wanted, found.load
    if not w.rate:
        return
    table = _table(f"{w.rate:,.4g} requests/s, {w.candidates:,} candidates ranked", "")
    table.add_row("CPU of the server a request", f"{load.cpu_ms:.1f} ms")
    table.add_row("one process can answer, a second", f"{load.process_rate:,.0f}")
    table.add_row("cores that this needs", f"{load.cores:.1f}")
    table.add_row("upnext serve --workers", f"{load.processes}")
    table.add_row("servers, resident, all together", f"{load.resident_mb:,.0f} MB")
    table.add_row("the log grows by, a day", f"{load.log_mb_day:,.0f} MB")
    yield table
    yield Text(answer(found), style="" if load.suffices else "yellow")


def answer(found: Plan) -> str:
    """Whether the machine's cores are enough, as a sentence."""
    w, load = found.wanted, found.load
    machine = f"{w.cores} core{'' if w.cores == 1 else 's'}"
    if load.suffices:
        return f"One machine of {machine} suffices; it can answer {load.machine_rate:,.0f} requests/s."
    can = f"One machine of {machine} can answer {load.machine_rate:,.0f} requests/s"
    return f"{can}, not {w.rate:,.4g}: {math.ceil(load.cores):,} cores are needed."


def duration(seconds: float) -> str:
    """Seconds, or minutes, or hours: two or three digits that mean something."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:,.1f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, title=f"\n{title}", title_justify="left", title_style="bold")
    table.add_column("", min_width=40)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table
