"""The ranker on logged impressions of the test window: each row scored as of its moment, weights frozen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from upnext.build import Model, hydrators
from upnext.config import Config, TaskConfig
from upnext.evaluation import metrics
from upnext.evaluation.results import Task
from upnext.features.hydrate import SourceScores
from upnext.features.replay import Replay
from upnext.live import Live
from upnext.training.examples import Examples
from upnext.training.progress import Progress
from upnext.training.ranker_data import past_requests
from upnext.types import Candidates, Column, Float32, Int64

REQUESTS_AT_ONCE = 2048
POSITIONS = 20


def predict(
    model: Model, examples: Examples, replay: Replay, config: Config, live: Live, progress: Progress
) -> tuple[dict[str, Column], Float32]:
    """(prediction columns ``[N]``, popularity ``[N]``) of the examples' rows, as serving would have predicted."""
    moments = examples.moments
    batch = len(moments.user)
    with progress.track("features of the test rows", batch) as step:
        features = replay.features(moments, step)
    state, _ = hydrators(config, live, ())
    popularity = features[:, state.names.index(f"item_log_positive_{config.features.half_lives_days[-1]:g}d")]
    scores = SourceScores(model.sources.scorers)
    names = (*state.names, *scores.names)
    parts: list[Mapping[str, Column]] = []
    with progress.track("predictions", batch) as step:
        for start in range(0, batch, REQUESTS_AT_ONCE):
            which = slice(start, min(start + REQUESTS_AT_ONCE, batch))
            rows = slice(int(moments.offsets[which.start]), int(moments.offsets[which.stop]))
            requests = past_requests(replay, examples, which)
            candidates = Candidates(moments.item[rows], moments.offsets[which.start : which.stop + 1] - rows.start)
            matrix = np.concatenate([features[rows], scores(requests, candidates)], axis=1)
            parts.append(model.ranker(requests, candidates.with_features(matrix, names)))
            step(which.stop - which.start, "")
    columns = {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {})}
    return columns, popularity


def measure(
    examples: Examples,
    predicted: Mapping[str, Column],
    popularity: Float32,
    tasks: Mapping[str, TaskConfig],
    watch_cap: float,
) -> dict[str, Task]:
    """Per task: AUC, GAUC, calibration; for seconds MAE and XAUC; beside popularity.

    Seconds are judged by the predicted median under the cap: the mean, which the value uses, is moved by the few who
    watch for hours."""
    user = examples.moments.user[np.repeat(np.arange(len(examples.moments.user)), np.diff(examples.moments.offsets))]
    found: dict[str, Task] = {}
    for name, task in tasks.items():
        label = examples.labels[name]
        if task.kind == "seconds" and f"{name}_seconds" in predicted:
            found[name] = _seconds(label, name, predicted, popularity, watch_cap)
        elif task.kind == "binary" and f"p_{name}" in predicted:
            found[name] = _binary(label, predicted[f"p_{name}"], popularity, user.astype(np.int64), examples)
    return found


def _binary(label: Float32, p: Column, popularity: Float32, user: Int64, examples: Examples) -> Task:
    score = np.asarray(p, np.float64)
    return {
        "rows": len(label),
        "positives": int(label.sum()),
        "auc": metrics.auc(label, score),
        "gauc": metrics.gauc(user, label, score).mean,
        "ece": metrics.ece(label, score),
        "log_loss": metrics.log_loss(label, score),
        "popularity": {"auc": metrics.auc(label, popularity), "gauc": metrics.gauc(user, label, popularity).mean},
        "reliability": metrics.reliability(label, score),
        "position_ctr": _by_position(label, examples.position.astype(np.int64)),
    }


def _seconds(label: Float32, name: str, predicted: Mapping[str, Column], popularity: Float32, cap: float) -> Task:
    capped = np.minimum(label, cap)
    median = np.minimum(np.asarray(predicted[f"{name}_seconds_median"], np.float64), cap)
    constant = np.full(len(label), np.median(capped) if len(label) else 0.0)
    return {
        "rows": len(label),
        "positives": int((label > 0).sum()),
        "mae": metrics.mae(capped, median),
        "xauc": metrics.xauc(capped, median),
        "popularity": {"mae": metrics.mae(capped, constant), "xauc": metrics.xauc(capped, popularity)},
    }


def _by_position(label: Float32, position: Int64) -> list[float | None]:
    known = (position >= 0) & (position < POSITIONS)
    if not known.any():
        return []
    shown = np.bincount(position[known], minlength=1)
    hits = np.asarray(np.bincount(position[known], label[known], minlength=1), np.float64)
    return [float(h / n) if n else None for h, n in zip(hits, shown, strict=True)]
