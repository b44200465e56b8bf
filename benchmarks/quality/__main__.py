"""python -m benchmarks.quality --dataset amazon-beauty --data ../shared/data/amazon-beauty --json beauty.json"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.quality import choosing, foretelling
from benchmarks.quality.choosing import Wanted
from benchmarks.quality.datasets import NAMES
from upnext import __version__

RANKING = "kuairand-pure"


def main() -> None:
    flags = _parsed()
    with tempfile.TemporaryDirectory() as temporary:
        wanted = Wanted(
            dataset=flags.dataset,
            data=flags.data,
            work=flags.work or Path(temporary),
            seeds=tuple(flags.seeds),
            ours=not flags.peers_only,
            peers=not flags.no_peers,
            only=tuple(flags.only),
            python=flags.peers_python,
            fitted=flags.fitted,
            settings=tuple(flags.settings),
        )
        run = foretelling.run if wanted.dataset == RANKING else choosing.run
        found, tables = run(wanted)
    console = Console(width=max(Console().width, 160))
    for table in tables:
        console.print(table)
    if flags.json:
        flags.json.write_text(json.dumps({**_about(flags), **found}, indent=1) + "\n", encoding="utf-8")


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--dataset", choices=[*NAMES, RANKING], required=True,
                        help="a public one, or the format of any other: sequences, check-ins, ratings")  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="the data set's folder")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="a training a seed (default 0 1 2)")
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--peers-only", action="store_true", help="leave upnext out")
    alone.add_argument("--no-peers", action="store_true", help="fit no peers")
    parser.add_argument("--only", nargs="+", default=[], metavar="PEER", help="these peers only")
    parser.add_argument("--work", type=Path, help="keep the home and the lists in this new folder")
    parser.add_argument("--peers-python", type=Path, default=Path(".venv-peers/bin/python"), help="of `make peers`")
    parser.add_argument("--fitted", type=Path, help="a folder with lists of peers that were fitted apart")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
                        help="override a setting of upnext: for experiments, not for what is published")  # fmt: skip
    return parser.parse_args()


def _about(flags: argparse.Namespace) -> dict[str, Any]:
    """The command, the date and the machine, without which a figure says little."""
    return {
        "dataset": flags.dataset,
        "command": " ".join(["python -m benchmarks.quality", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "upnext": __version__,
        "seeds": flags.seeds,
        "settings": flags.settings,
    }


if __name__ == "__main__":
    main()
