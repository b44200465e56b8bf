"""Whether a new version may take over: its ranker and the active one's on the same rows, which neither learned from.

Both are run as they would serve, by ONNX Runtime, on the new version's validation slice and the same features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upnext.build import build
from upnext.config import Config, TaskConfig
from upnext.errors import UpnextError
from upnext.evaluation.metrics import auc, xauc
from upnext.features.replay import Replay
from upnext.live import Live
from upnext.ranking.multi_task import MultiTask
from upnext.storage.artifacts import Manifest, Models
from upnext.training.examples import Examples
from upnext.training.progress import Progress
from upnext.training.ranker_data import past_requests
from upnext.types import Candidates, Float32

REQUESTS = 4096  # the latest that are compared on
FEWEST_ROWS = 500
FEWEST_OF_A_LABEL = 20  # rarer, and a task's figure is noise
PAIRS = 200_000
SCORE = "score"


@dataclass(frozen=True)
class Held:
    """The validation slice: requests with what came of them, and the features that a ranker reads of each row."""

    examples: Examples
    features: Float32  # [N, F]
    names: tuple[str, ...]
    replay: Replay

    def part(self, first: int) -> Held:
        """The requests from ``first`` on."""
        row = int(self.examples.moments.offsets[first])
        last = len(self.examples.moments.user)
        return Held(self.examples.requests(slice(first, last)), self.features[row:], self.names, self.replay)


@dataclass(frozen=True)
class Comparison:
    """``worse`` by how much mean AUC (below 0: better), None where nothing could be compared; and how it was found."""

    worse: float | None
    said: str
    new: Mapping[str, float]
    active: Mapping[str, float]


def quality(ranker: MultiTask, held: Held, tasks: Mapping[str, TaskConfig], progress: Progress) -> dict[str, float]:
    """AUC a binary task, XAUC of seconds, and ``score``, their mean; tasks that are too rare there are left out."""
    moments, found = held.examples.moments, dict[str, float]()
    batch, parts = len(moments.user), list[dict[str, Float32]]()
    with progress.track("validation", batch) as step:
        for start in range(0, batch, 512):
            which = slice(start, min(start + 512, batch))
            rows = slice(int(moments.offsets[which.start]), int(moments.offsets[which.stop]))
            candidates = Candidates(moments.item[rows], moments.offsets[which.start : which.stop + 1] - rows.start)
            requests = past_requests(held.replay, held.examples, which)
            predicted = ranker(requests, candidates.with_features(held.features[rows], held.names))
            parts.append({name: np.asarray(column, np.float32) for name, column in predicted.items()})
            step(which.stop - which.start, "")
    columns = {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {})}
    for name, task in tasks.items():
        label, seconds = held.examples.labels[name], task.kind == "seconds"
        column = columns.get(f"{name}_seconds" if seconds else f"p_{name}")
        positive = int((label > 0).sum())
        if column is not None and min(positive, len(label) - positive) >= FEWEST_OF_A_LABEL:
            figure = xauc(label, column, pairs=PAIRS) if seconds else auc(label, column)
            found[f"{name} {'xauc' if seconds else 'auc'}"] = round(float(figure), 5)
    return {**found, SCORE: _mean(found)} if found else {}


def compare(
    models: Models,
    config: Config,
    live: Live,
    draft: Path,
    held: Held | None,
    tasks: Mapping[str, TaskConfig],
    progress: Progress,
) -> Comparison:
    """The version in ``draft`` against the active one, on the slice where that is possible, else by stored figures."""
    new: dict[str, float] = {}
    if held is not None:
        held = held.part(max(0, len(held.examples.moments.user) - REQUESTS))
        new = quality(build(config, live, draft, "draft").ranker, held, tasks, progress)
    version = models.active()
    if version is None:
        return Comparison(None, "it is the first version", new, {})
    try:
        folder, manifest = models.open(version)
        ranker = build(config, live, folder, version).ranker
    except UpnextError as error:
        return Comparison(None, f"the active version cannot be compared with ({error})", new, {})
    if held is None:
        return Comparison(None, "there were too few new rows to compare on", new, {})
    unseen = _unseen(held, manifest)
    if ranker.spec.feature_names != held.names:
        return _by_stored(new, manifest, "was trained on other features")
    if len(unseen.examples) < FEWEST_ROWS:
        return _by_stored(new, manifest, "learned from rows of this slice itself")
    theirs = quality(ranker, unseen, tasks, progress)
    mine = new if unseen is held else quality(build(config, live, draft, "draft").ranker, unseen, tasks, progress)
    rows = f"on the same {len(unseen.examples):,} rows, which neither learned from"
    return _compared(mine, theirs, rows, new) or _by_stored(new, manifest, "predicts none of the same tasks there")


def _unseen(held: Held, active: Manifest) -> Held:
    """The part of the slice that the active version's ranker did not learn from."""
    learned = int(active.details.get("ranker_learned_until", active.until_ms))
    first = int(np.searchsorted(held.examples.moments.now, learned, side="left"))
    return held.part(first) if first else held


def _by_stored(new: Mapping[str, float], active: Manifest, why: str) -> Comparison:
    ranker = active.metrics.get("ranker", {})
    stored = ranker.get("validation", {}) if isinstance(ranker, Mapping) else {}
    said = f"each on the validation slice of its own training, since the active version {why}"
    nothing = Comparison(None, f"nothing can be compared, since the active version {why}", new, {})
    return _compared(new, stored, said, new) or nothing


def _compared(
    mine: Mapping[str, float], theirs: Mapping[str, float], said: str, new: Mapping[str, float]
) -> Comparison | None:
    """Over the tasks that both have a figure of; None without any."""
    both = [name for name in mine if name in theirs and name != SCORE]
    if not both:
        return None
    kept, other = {name: mine[name] for name in both}, {name: float(theirs[name]) for name in both}
    worse = _mean(other) - _mean(kept)
    figures = ", ".join(f"{name} {kept[name]:.4f} against {other[name]:.4f}" for name in both)
    return Comparison(worse, f"{figures} ({said})", new, other)


def _mean(figures: Mapping[str, float]) -> float:
    return float(np.mean(list(figures.values())))
