"""Runs the peers in their own environment: the split goes there as an npz file, their lists come back as others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.lists import Top
from benchmarks.quality.split import Split, Splits


@dataclass(frozen=True, slots=True)
class Peer:
    """The lists of one peer, a run a seed."""

    name: str
    runs: Sequence[Top]
    fit_seconds: Sequence[float]
    note: str


def run_peers(
    python: Path, splits: Splits, folder: Path, k: int, seeds: Sequence[int], only: Sequence[str] = ()
) -> list[Peer]:
    """Fit the peers and read their lists. Raises SystemExit where their environment is missing."""
    if not python.exists():
        raise SystemExit(
            f"{python}: the peers' environment is missing. `make peers` makes it; --no-peers goes without."
        )
    folder.mkdir(parents=True, exist_ok=True)
    splits.test.save(folder / "test.npz")
    splits.validation.save(folder / "validation.npz")
    command = [str(python), "-m", "benchmarks.quality.peers", str(folder), "--k", str(k)]
    command += ["--seeds", *map(str, seeds), *(["--only", *only] if only else [])]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return read_peers(folder)


def read_peers(folder: Path) -> list[Peer]:
    """What the last run left in ``folder``."""
    found = []
    for entry in json.loads((folder / "peers.json").read_text(encoding="utf-8")):
        runs = [Top.load(folder / name) for name in entry["files"]]
        found.append(Peer(entry["name"], runs, entry["fit seconds"], entry["note"]))
    return found


def read_fitted(folder: Path, dataset: str, split: Split) -> list[Peer]:
    """Peers that were fitted apart: in a run of `--peers-only --work`, or one list and its description a seed.

    Raises SystemExit where there are none, or they answered another split.
    """
    if (folder / "peers.json").exists():
        asked = Split.load(folder / "test.npz")
        if not (np.array_equal(asked.items, split.items) and np.array_equal(asked.truth.item, split.truth.item)):
            raise SystemExit(f"{folder}: its lists are for another split than this of {dataset}. Fit the peers again.")
        return [replace(peer, note=f"fitted apart: {peer.note}") for peer in read_peers(folder)]
    found: dict[str, list[Mapping[str, Any]]] = {}
    for path in sorted(folder.glob(f"*-{dataset}-*.json")):
        said = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(said["name"], []).append({**said, "top": Top.load(path.with_suffix(".npz"))})
    if not found:
        raise SystemExit(
            f"{folder}: no lists for {dataset}; `--peers-only --work` (its folder `peers`) and "
            "`python -m benchmarks.quality.peers.sasrec` make them."
        )
    return [
        Peer(name, [run["top"] for run in runs], [float("nan")] * len(runs), f"fitted apart: {runs[0]['note']}")
        for name, runs in found.items()
    ]
