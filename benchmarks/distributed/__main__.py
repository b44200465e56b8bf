"""python -m benchmarks.distributed --home demo       (needs `make ray`, `make postgres`, and a home with a model)"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.distributed import before, serving, training

PARTS = ("serving", "training", "before")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distributed", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="copied, not changed; with a published model")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--requests", type=int, default=1000, help="that are compared")
    parser.add_argument("--seconds", type=float, default=60.0, help="of load while things are killed, about")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit, for the part `before`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    flags = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, value in _run(flags, Path(folder)):
            found[name] = None if math.isnan(value) else round(value, 4)
            print(f"{name:<75}{value:12,.3f}", flush=True)
    if flags.json:
        flags.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _run(flags: argparse.Namespace, work: Path) -> Iterator[tuple[str, float]]:
    if "serving" in flags.only:
        yield from serving.measure(flags.home, work / "serving", flags.requests, flags.seconds)
    if "training" in flags.only:
        yield from training.measure(flags.home, work / "training", flags.seeds)
    if "before" in flags.only and flags.before:
        yield from before.measure(flags.home, work / "before", flags.before, flags.rounds, flags.requests)


if __name__ == "__main__":
    main()
