"""KuaiRand: how well each outcome of an impression is foretold, by upnext's ranker and by LightGBM.

Trained until 2022-05-04, tested on the four days after it. Both read the same replayed features, each strictly prior
to its row; upnext also has the scores of its sources, histories and ids. State follows the log, weights stay.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import homes
from upnext.build import hydrators
from upnext.cli_shared import moment
from upnext.evaluation import rows
from upnext.evaluation.run import held_out
from upnext.features.replay import Replay
from upnext.home import Home
from upnext.live import Live
from upnext.training.examples import Examples, from_impressions
from upnext.training.progress import Silent
from upnext.types import Float32, Int64

UNTIL = "2022-05-05"
SECONDS_CAP = 120.0
Predicted = Mapping[str, NDArray[np.float64]]
"""Task -> a number a test row: a probability, or seconds."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The impressions of a window."""

    x: Float32  # [N, F] state features
    user: Int64  # [N]
    label: Mapping[str, Float32]  # seconds are capped

    def save(self, path: Path) -> None:
        labels = {f"label.{name}": label for name, label in self.label.items()}
        np.savez(path, allow_pickle=False, x=self.x, **labels)


def home_of(data: Path, folder: Path) -> Path:
    home = folder / "home"
    homes.upnext("init", str(home))
    homes.upnext("import", f"--home={home}", "kuairand", str(data))
    return home


def train_and_test(directory: Path) -> tuple[Rows, Rows]:
    """All impressions before and after ``UNTIL``."""
    home = Home.open(directory)
    log = home.log()
    try:
        live = Live(log, home.config, events=False)
        events, start = live.all_events(), moment(UNTIL)
        tasks, end = home.config.ranking.tasks, int(events.received_at[-1]) + 1
        before = events.take(events.received_at < start)
        windows = (
            (Replay(home.config.features, live.roles, live.catalogue, before),
             from_impressions(before, live.roles, tasks, 0, start)),
            (Replay(home.config.features, live.roles, live.catalogue, events),
             from_impressions(events, live.roles, tasks, start, end)),
        )  # fmt: skip
        train, test = (_rows(replay, examples) for replay, examples in windows)
        return train, test
    finally:
        log.close()


def _rows(replay: Replay, examples: Examples) -> Rows:
    user = np.repeat(examples.moments.user, np.diff(examples.moments.offsets)).astype(np.int64)
    label = {
        name: np.minimum(label, SECONDS_CAP) if label.max(initial=0) > 1 else label
        for name, label in examples.labels.items()
    }
    return Rows(replay.features(examples.moments), user, label)


def predict(directory: Path) -> Predicted:
    """The active version's predictions for the test rows, in their order."""
    home = Home.open(directory)
    log = home.log()
    try:
        held = held_out(home, log)
        live, events, start = held.live, held.events, held.manifest.until_ms
        replay = Replay(home.config.features, live.roles, live.catalogue, events)
        end = int(events.received_at[-1]) + 1
        examples = from_impressions(events, live.roles, home.config.ranking.tasks, start, end)
        found, _ = rows.predict(held.model, examples, replay, home.config, live, Silent())
    finally:
        log.close()
    predicted = {}
    for name, task in home.config.ranking.tasks.items():
        column = found.get(f"p_{name}" if task.kind == "binary" else f"{name}_seconds_median")
        if column is not None:
            value = np.asarray(column, np.float64)
            predicted[name] = value if task.kind == "binary" else np.minimum(value, SECONDS_CAP)
    return predicted


def feature_names(directory: Path) -> tuple[str, ...]:
    home = Home.open(directory)
    log = home.log()
    try:
        return tuple(hydrators(home.config, Live(log, home.config, events=False), ())[0].names)
    finally:
        log.close()


def boosted(
    python: Path, train: Rows, test: Rows, folder: Path, seeds: Sequence[int]
) -> tuple[list[Predicted], list[float]]:
    """LightGBM's predictions, a run a seed, and the seconds of fitting."""
    if not python.exists():
        raise SystemExit(
            f"{python}: the peers' environment is missing. `make peers` makes it; --no-peers goes without."
        )
    folder.mkdir(parents=True, exist_ok=True)
    train.save(folder / "train.npz")
    test.save(folder / "test.npz")
    command = [str(python), "-m", "benchmarks.quality.peers.boosted", str(folder), "--seeds", *map(str, seeds)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    runs: list[Predicted] = []
    for seed in seeds:
        with np.load(folder / f"lightgbm-{seed}.npz", allow_pickle=False) as stored:
            runs.append(dict(stored))
    about: dict[str, Any] = json.loads((folder / "peers.json").read_text(encoding="utf-8"))
    return runs, about["fit seconds"]
