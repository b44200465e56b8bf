"""``upnext train``: the log -> a published model version. Read top to bottom: this is the order of things.

sources fitted on the first part -> their scores become features of later examples -> the ranker learns from the
examples when to trust which source -> sources fitted again on everything -> published at once, or not at all
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import torch

from upnext import __version__
from upnext.build import RANKER_FOLDER, hydrators, load_sources
from upnext.config import Config, TaskConfig
from upnext.content import Vocabulary
from upnext.errors import HomeError
from upnext.features.replay import Replay
from upnext.home import Home
from upnext.live import Live
from upnext.storage.artifacts import Manifest, Models
from upnext.training.choices import CHOICE_TASK, from_choices
from upnext.training.data import TrainingData
from upnext.training.examples import Examples, from_impressions, learnable
from upnext.training.linear import fit_linear
from upnext.training.progress import Progress
from upnext.training.ranker import fit_ranker
from upnext.training.ranker_data import actions_of, ranker_data
from upnext.training.sources import fit_sources

FEWEST_IMPRESSIONS = 1000  # fewer, and the ranker learns from choices instead


def train(home: Home, until: int | None, progress: Progress) -> Manifest:
    """Fit all models on what was received before ``until`` (ms; None = everything) and publish them.

    Raises HomeError when the log holds too little to learn from.
    """
    config, log = home.config, home.log()
    seed = config.training.seed
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    try:
        live = Live(log, config, events=False)
        data = TrainingData.read(live, until)
        models: Models = home.models()
        with models.draft() as draft:
            metrics = _fit(data, config, draft, seed, progress)
            version = models.publish(draft, _manifest(data, config, metrics))
        models.prune(config.storage.keep_versions)
        return models.open(version)[1]
    finally:
        log.close()


def _fit(data: TrainingData, config: Config, draft: Path, seed: int, progress: Progress) -> dict[str, object]:
    live = data.live
    vocabulary = data.vocabulary(data.interactions(data.until)[0])
    replay = Replay(config.features, live.roles, live.catalogue, data.events)
    split = _split(data, config)
    early = draft / "early"
    progress.say("Sources, on the first part of the window: their scores become features")
    fit_sources(data, vocabulary, split, config, early, seed, progress)
    examples, tasks = _examples(data, config, replay, early, split, progress)
    progress.say(f"Ranker: {len(examples):,} rows, tasks {', '.join(tasks)}")
    ranker_metrics = _fit_ranker(data, config, vocabulary, replay, examples, tasks, early, draft, split, progress)
    shutil.rmtree(early)
    progress.say("Sources, on the whole window")
    source_metrics = fit_sources(data, vocabulary, data.until, config, draft, seed, progress)
    return {"sources": source_metrics, "ranker": ranker_metrics}


def _split(data: TrainingData, config: Config) -> int:
    """The moment until which the early sources learn: source_share of the impressions, else of the choices."""
    impressions = np.flatnonzero(data.live.roles.is_impression[data.events.type])
    of = impressions if len(impressions) >= FEWEST_IMPRESSIONS else data.positive_rows(data.events)
    return int(np.quantile(data.events.received_at[of], config.training.source_share))


def _examples(
    data: TrainingData, config: Config, replay: Replay, early: Path, split: int, progress: Progress
) -> tuple[Examples, dict[str, TaskConfig]]:
    """Labelled rows: impressions with their outcomes, or, where there are none, what was chosen next."""
    live, tasks = data.live, config.ranking.tasks
    examples = from_impressions(data.events, live.roles, tasks, 0, data.until)
    if len(examples) >= FEWEST_IMPRESSIONS:
        examples = examples.latest(config.training.max_examples)
        found = learnable(examples, tasks)
        for name in tasks.keys() - found.keys():
            progress.say(f"Task {name} is left out: too few {tasks[name].event!r} events on impressions")
        if found:
            return examples, found
    progress.say("No impressions in the log: the ranker learns which candidate was chosen next (task click)")
    rows = data.positive_rows(data.events)
    rows = rows[data.events.received_at[rows] >= split]
    sources = load_sources(config, live, early)
    examples = from_choices(live, replay, data.events, rows, sources, config, config.training.seed, progress)
    if len(examples.moments.user) < 20:
        raise HomeError(
            f"the sources proposed what was chosen next in only {len(examples.moments.user)} cases; too few to train "
            "a ranker on. Import more events, or raise the quotas in [candidates]."
        )
    return examples, {CHOICE_TASK: tasks.get(CHOICE_TASK, TaskConfig(event="click", weight=1.0))}


def _fit_ranker(
    data: TrainingData,
    config: Config,
    vocabulary: Vocabulary,
    replay: Replay,
    examples: Examples,
    tasks: dict[str, TaskConfig],
    early: Path,
    draft: Path,
    split: int,
    progress: Progress,
) -> dict[str, object]:
    live, seed, folder = data.live, config.training.seed, draft / RANKER_FOLDER
    scorers = load_sources(config, live, early).scorers
    rows = ranker_data(examples, replay, live, scorers, split, vocabulary, config, progress)
    names = tuple(name for hydrator in hydrators(config, live, scorers) for name in hydrator.names)
    fitted = fit_ranker(
        rows, data.content(vocabulary), vocabulary, tasks, names, actions_of(live), config.ranking, seed, progress
    )
    fitted.save(folder)
    vocabulary.save(folder)
    fit_linear(rows, fitted.spec.columns, names, seed).save(folder)
    return {"rows": len(examples), "tasks": list(tasks), "feature_names": list(names), "curve": fitted.curve}


def _manifest(data: TrainingData, config: Config, metrics: dict[str, object]) -> Manifest:
    ranker = metrics["ranker"]
    names = tuple(ranker.pop("feature_names")) if isinstance(ranker, dict) else ()
    events = data.events
    return Manifest(
        upnext=__version__,
        first_offset=int(events.offset.min(initial=-1)),
        last_offset=int(events.offset.max(initial=-1)),
        from_ms=int(events.received_at[0]) if len(events) else 0,
        until_ms=data.until,
        items_revision=data.live.items_revision,
        config_digest=config.digest(),
        feature_names=names,
        feature_digest=hashlib.sha256("\n".join(names).encode()).hexdigest()[:16],
        tasks=tuple(ranker["tasks"]) if isinstance(ranker, dict) else (),
        metrics=metrics,
        seeds={"training": config.training.seed},
    )
