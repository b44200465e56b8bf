"""``upnext evaluate``: the active model on what happened after its training window, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from upnext.build import Model, build
from upnext.config import Config
from upnext.errors import HomeError
from upnext.evaluation import oracle, rows, slates
from upnext.evaluation.results import Results
from upnext.features.replay import Replay
from upnext.home import Home
from upnext.live import Live
from upnext.reranking.similarity import Similarity
from upnext.storage.artifacts import Manifest
from upnext.storage.log import Log
from upnext.training.examples import from_impressions
from upnext.training.interactions import positive_rows
from upnext.training.progress import Progress
from upnext.types import Events

TIMED_REQUESTS = 100


def evaluate(home: Home, until: int | None, truth: Path | None, progress: Progress) -> Results:
    """Measure what was received from the end of the training window to ``until`` (ms; None = the end of the log).

    State follows the log through the window; model weights stay as they were trained. Raises HomeError when nothing
    was held out.
    """
    log = home.log()
    try:
        return _measure(home.config, held_out(home, log, until), truth, progress)
    finally:
        log.close()


@dataclass(frozen=True)
class HeldOut:
    """The active model, with a live state that knows what was received before its training window ended."""

    model: Model
    manifest: Manifest
    live: Live
    events: Events  # in log order, to the end of the test window
    applied: int  # of them are in the state


def held_out(home: Home, log: Log, until: int | None = None) -> HeldOut:
    """What there is to measure, up to ``until`` (ms; None = the end). Raises HomeError when nothing was held out."""
    directory, manifest = home.models().open()
    live = Live(log, home.config, events=False)
    events = live.all_events()
    if until is not None:
        events = events.take(events.received_at < until)
    start = manifest.until_ms
    applied = int(np.searchsorted(events.received_at, start, side="left"))
    if applied == len(events):
        raise HomeError(
            f"{home.directory}: the active model was trained on everything before {_when(start)}, and nothing was "
            f"received since. Hold something out: `upnext train --home {home.directory} --until DATE`."
        )
    live.state.apply(events.take(slice(0, applied)))
    return HeldOut(build(home.config, live, directory, manifest.version), manifest, live, events, applied)


def _measure(config: Config, held: HeldOut, truth: Path | None, progress: Progress) -> Results:
    model, manifest, live, events, applied = held.model, held.manifest, held.live, held.events, held.applied
    start, k = manifest.until_ms, config.evaluation.k
    positive = positive_rows(events, live.roles.weight, live.roles.least)
    asked = slates.visits(events, positive, start, config.evaluation.users, config.training.seed)
    found_oracle = (
        oracle.against_truth(truth, model, live, _known(asked, events, applied), start, k, progress) if truth else None
    )
    replay = Replay(config.features, live.roles, live.catalogue, events)
    examples = from_impressions(events, live.roles, config.ranking.tasks, start, int(events.received_at[-1]) + 1)
    predicted, popularity = rows.predict(model, examples, replay, config, live, progress)
    ranking = rows.measure(examples, predicted, popularity, config.ranking.tasks, config.evaluation.watch_cap)
    shown = slates.show(model, live, config, events, applied, asked, progress)
    past = events.take(slice(0, applied))
    seen = np.bincount(past.item[past.item >= 0], minlength=len(live.catalogue())).astype(np.float32)
    given = slates.worth(asked, examples, config.ranking.tasks)
    similarity = Similarity(live.catalogue)
    results: Results = {
        "window": {
            "trained until": _when(start),
            "tested until": _when(int(events.received_at[-1])),
            "events in training": applied,
            "events in test": len(events) - applied,
            "impressions in test": len(examples),
        },
        "users": len(asked),
        "model_version": manifest.version,
        "stages": {
            "candidates": slates.candidate_metrics(shown, asked.truth),
            "ranking": ranking,
            "slate": slates.slate_metrics(shown, asked, given, live, k, similarity, seen),
        },
        "cold": slates.cold_metrics(shown, asked, np.unique(past.user), np.unique(past.item), k),
        "timing": _timing(model, live, asked, k),
        "training": _curves(manifest),
    }
    if found_oracle is not None:
        results["oracle"] = found_oracle
    return results


def _known(asked: slates.Visits, events: Events, applied: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Visitors who had done something before the window."""
    return asked.user[np.isin(asked.user, events.user[:applied])]


def _timing(model: Model, live: Live, asked: slates.Visits, k: int) -> dict[str, Mapping[str, float | None]]:
    """Milliseconds of single requests, one at a time, in this process: total and a stage."""
    total: list[float] = []
    stages: dict[str, list[float]] = {}
    with threadpool_limits(1):  # as in the server: on matrices this small, threads would only wait for each other
        for n in range(min(TIMED_REQUESTS, len(asked))):
            now = asked.now[-1:]  # the state is as of the last visit
            slate = model.funnel(live.requests(asked.user[n : n + 1], now, k), observe=False)
            total.append(slate.took_ms)
            for entry in slate.trace:
                stages.setdefault(f"{entry.stage}: {entry.name}", []).append(entry.ms)
    every = {"total": total, **stages}
    return {
        name: {"p50 ms": float(np.percentile(ms, 50)), "p99 ms": float(np.percentile(ms, 99))}
        for name, ms in every.items()
        if ms
    }


def _curves(manifest: Manifest) -> dict[str, dict[str, list[float]]]:
    """The training curves in the manifest, by model."""
    curves: dict[str, dict[str, list[float]]] = {}
    ranker = manifest.metrics.get("ranker", {})
    epochs = ranker.get("curve", []) if isinstance(ranker, dict) else []
    for epoch in epochs:
        for name, value in epoch.items():
            if name != "epoch":
                curves.setdefault("ranker", {}).setdefault(name, []).append(float(value))
    sources = manifest.metrics.get("sources", {})
    recall = sources.get("two_tower_validation_recall", []) if isinstance(sources, dict) else []
    if recall:
        curves["two_tower"] = {"validation recall": [float(value) for value in recall]}
    return curves


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
