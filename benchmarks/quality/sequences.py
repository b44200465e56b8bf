"""Any home's log as sequences, to compare upnext with the known methods on a catalogue of one's own:

upnext init shop && upnext import --home shop my-data
python -m benchmarks.quality.sequences --home shop --to shop-sequences
python -m benchmarks.quality --dataset sequences --data shop-sequences
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import polars as pl

from upnext.errors import UpnextError
from upnext.home import Home
from upnext.live import Live
from upnext.training.data import TrainingData

CORE = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.sequences", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="a new folder")
    parser.add_argument(
        "--core", type=int, default=CORE, help=f"events of every user and item, at least (default {CORE})"
    )
    flags = parser.parse_args()
    try:
        print(write(flags.home, flags.to, flags.core))
    except (UpnextError, OSError) as error:
        raise SystemExit(str(error)) from error


def write(directory: Path, to: Path, core: int = CORE) -> str:
    """``sequences.txt`` and ``attributes.json`` (categories) in the new folder ``to``; returns what there is to say.

    A sequence is what somebody turned to, oldest first, each item where it was met first. Users and items with fewer
    than ``core`` events are left out until none is left, as is usual with such data. Names are numbers from 1.
    """
    home = Home.open(directory)
    log = home.log()
    try:
        live = Live(log, home.config)
        data = TrainingData.read(live, None)
        found, _ = data.interactions(data.until)
        category = live.catalogue().category
    finally:
        log.close()
    rows = pl.DataFrame({"user": found.user, "item": found.item, "at": found.at}).sort("at", maintain_order=True)
    rows = core_of(rows.unique(["user", "item"], keep="first", maintain_order=True), core)
    if not len(rows):
        raise SystemExit(f"{directory}: no user and item has {core} events; a smaller --core leaves some")
    items = rows["item"].unique().sort()
    number = pl.DataFrame({"item": items, "number": pl.int_range(1, len(items) + 1, eager=True)})
    of_users = rows.join(number, on="item", maintain_order="left").group_by("user", maintain_order=True).agg("number")
    to.mkdir(parents=True)
    lines = [" ".join(map(str, [row, *taken])) for row, taken in enumerate(of_users["number"].to_list(), start=1)]
    (to / "sequences.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    about = {str(n): [code for code in codes if code >= 0] for n, codes in enumerate(category[items].tolist(), start=1)}
    (to / "attributes.json").write_text(json.dumps(about), encoding="utf-8")
    return f"{to}: {len(lines):,} users, {len(items):,} items, {len(rows):,} events"


def core_of(rows: pl.DataFrame, core: int) -> pl.DataFrame:
    """Rows of (user, item) whose user and whose item have at least ``core`` of them each."""
    while True:
        enough = rows.filter((pl.len().over("user") >= core) & (pl.len().over("item") >= core))
        if len(enough) == len(rows):
            return rows
        rows = enough


if __name__ == "__main__":
    main()
