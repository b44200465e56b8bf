"""``upnext demo``: from nothing to a measured funnel on a world of its own, by the same steps as any other home."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from rich.console import Console

from upnext.errors import HomeError
from upnext.home import CONFIG_FILE, Home
from upnext.training.progress import Progress

HELD_OUT_DAYS = 1.5


def prepare(directory: Path, console: Console, progress: Progress) -> Home:
    """Make the demo home in ``directory``; one that is complete already is used as it is."""
    if (directory / CONFIG_FILE).exists():
        home = Home.open(directory)
        if home.models().active() is not None:
            console.print(f"{directory} is ready already; delete it to start over.", style="dim")
            return home
        raise HomeError(
            f"{directory}: holds a home without a model, perhaps an unfinished demo. Delete it, or train it."
        )
    started = time.perf_counter()
    unfinished = directory.with_name(directory.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    home = _make(unfinished, console, progress)
    unfinished.rename(directory)
    console.print(f"From nothing to here: {time.perf_counter() - started:.0f} s", style="dim")
    return Home.open(directory)


def _make(directory: Path, console: Console, progress: Progress) -> Home:
    from upnext.evaluation.report import write_report
    from upnext.evaluation.run import evaluate
    from upnext.evaluation.table import show
    from upnext.events.importing import import_source
    from upnext.events.open import open_source
    from upnext.simulation.frames import simulate, write_world
    from upnext.simulation.world import WorldConfig
    from upnext.training.run import train

    home = Home.create(directory)
    world = directory / "world"
    console.rule("A world")
    today = int(time.time() // 86_400 * 86_400_000)
    config = WorldConfig(start_at=today - WorldConfig.days * 86_400_000)  # its last day is yesterday
    write_world(simulate(config, progress), world)
    console.rule("Import")
    log = home.log()
    try:
        console.print(import_source(log, open_source([str(world)]), home.config.events.types, home.rejects, progress))
    finally:
        log.close()
    console.rule("Training")
    train(home, config.end_at - int(HELD_OUT_DAYS * 86_400_000), progress)
    console.rule("Evaluation")
    results = evaluate(home, None, world, progress)
    show(results, console)
    write_report(results, directory / "var" / "report.html")
    return home
