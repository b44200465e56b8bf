"""The verbs about made-up worlds: ``upnext simulate``, ``demo``, ``bench`` and ``plan``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from upnext.cli_shared import SET, bars, can_be_written, console, need_training


@click.command()
@click.option(
    "--home", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Where to make it."
)
@click.option("--serve/--no-serve", default=True, help="Serve afterwards, or end after the table.")
@click.option("--port", type=click.IntRange(0, 65535), help="Overrides serving.port.")
def demo(home: Path, serve: bool, port: int | None) -> None:
    """A world, its log, trained models, their measures, and a server: everything once. Later runs serve at once."""
    from upnext.demo import prepare

    need_training()
    opened = prepare(home, console(), bars())
    if serve:  # as a process of its own, which never loads what training needs
        flags = ["--home", str(opened.directory), *([] if port is None else ["--port", str(port)])]
        os.execv(sys.executable, [sys.executable, "-m", "upnext", "serve", *flags])


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--items", type=click.IntRange(min=1), default=20_000, show_default=True)
@click.option("--users", type=click.IntRange(min=1), default=5_000, show_default=True)
@click.option("--impressions", type=click.IntRange(min=1), default=500_000, show_default=True)
@click.option("--days", type=click.IntRange(min=1), default=14, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--truth/--no-truth", default=True, help="Write what is really liked, too: 400 bytes an item.")
def simulate(directory: Path, items: int, users: int, impressions: int, days: int, seed: int, truth: bool) -> None:
    """Make a world of users and items whose tastes are known, and write what they did to DIRECTORY."""
    from upnext.simulation.frames import simulate as run
    from upnext.simulation.frames import write_world
    from upnext.simulation.world import WorldConfig

    config = WorldConfig(items=items, users=users, impressions=impressions, days=days, seed=seed)
    data = run(config, bars())
    write_world(data, directory, truth)
    console().print(
        f"{directory}: {len(data.items):,} items, {len(data.users):,} users, {len(data.events):,} events in {days} days"
    )


@click.command()
@click.option("--home", type=click.Path(path_type=Path), default=Path("bench"), show_default=True, help="Made if new.")
@click.option("--items", type=click.IntRange(min=1000), default=100_000, show_default=True)
@click.option("--users", type=click.IntRange(min=100), default=5_000, show_default=True)
@click.option("--impressions", type=click.IntRange(min=20_000), default=300_000, show_default=True)
@click.option("--candidates", type=click.IntRange(1, 20_000), multiple=True, help="Also with so many. Repeatable.")
@click.option("--requests", type=click.IntRange(min=10), default=1000, show_default=True, help="One after the other.")
@click.option("--seconds", type=click.FloatRange(0.5, 3600), default=8.0, show_default=True, help="At each rate.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes of the server.")
@SET
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures to this file.")
def bench(
    home: Path,
    items: int,
    users: int,
    impressions: int,
    candidates: tuple[int, ...],
    requests: int,
    seconds: float,
    workers: int,
    overrides: tuple[str, ...],
    json_file: Path | None,
) -> None:
    """How fast, how large, how close to exact? A world of so many items, the real server, a client beside it."""
    need_training()
    from upnext.bench.home import Size
    from upnext.bench.run import Effort
    from upnext.bench.run import bench as run
    from upnext.bench.table import figures, show

    can_be_written(json_file)
    size, effort = Size(items, users, impressions), Effort(requests, seconds, overrides, workers)
    found = run(home, size, candidates, lambda text: console().print(text, style="dim"), effort)
    console().print(show(found))
    if json_file is not None:
        json_file.write_text(json.dumps(figures(found), indent=1), encoding="utf-8")


@click.command()
@click.option("--items", type=int, required=True, help="Of the catalogue.")
@click.option("--users", type=int, required=True, help="Who are in the log.")
@click.option("--events", type=int, help="In the log. [default: 70 a user]")
@click.option("--rate", type=float, default=0.0, help="Requests a second that shall be answered.")
@click.option("--candidates", type=int, help="Ranked for each request. [default: candidates.total]")
@click.option("-n", "n", type=int, default=10, show_default=True, help="Items a slate.")
@click.option("--cores", type=int, help="Of the machine that answers. [default: this one's]")
@click.option("--calibrate/--no-calibrate", default=True, help="Measure for half a second how fast this machine is.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures to this file.")
def plan(calibrate: bool, json_file: Path | None, **sizes: Any) -> None:
    """What will it take? RAM, disk, hours and cores for a catalogue of this size, before anything is made."""
    from upnext.bench.calibrate import Speed
    from upnext.bench.calibrate import calibrate as measure
    from upnext.bench.plan import plan as run
    from upnext.bench.plan import wanted
    from upnext.bench.plan_table import figures, show

    can_be_written(json_file)
    asked = wanted(**sizes)
    found = run(asked, measure() if calibrate else Speed())
    console().print(show(found))
    if json_file is not None:
        json_file.write_text(json.dumps(figures(found), indent=1), encoding="utf-8")
