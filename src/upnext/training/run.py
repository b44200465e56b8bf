"""``upnext train``: the log -> a published model version. Read top to bottom: this is the order of things.

sources fitted on the first part -> their scores become features of later examples -> the ranker learns from the
examples when to trust which source -> sources fitted again on everything -> compared with the active version ->
published at once, or not at all
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from upnext import __version__, catalogue_copy
from upnext.build import RANKER_FOLDER, hydrators, load_sources
from upnext.config import Config, TaskConfig
from upnext.content import Vocabulary
from upnext.errors import HomeError
from upnext.features.replay import Replay
from upnext.home import Home
from upnext.live import Live
from upnext.storage.artifacts import Manifest
from upnext.training.against_active import Comparison, Held, compare
from upnext.training.choice import FEWEST_LISTS, LISTS, fit_choice
from upnext.training.choices import CHOICE_TASK, SOURCES_SHARE, from_choices
from upnext.training.crew import HERE, Crew
from upnext.training.data import TrainingData
from upnext.training.examples import Examples, from_impressions, learnable
from upnext.training.fit import ExampleKind, Fit, architecture
from upnext.training.linear import fit_linear
from upnext.training.order import in_order
from upnext.training.progress import Clocked, Progress
from upnext.training.ranker import fit_ranker
from upnext.training.ranker_data import actions_of, ranker_data
from upnext.training.sources import fit_sources
from upnext.training.warm import Start, fit_warm

FEWEST_IMPRESSIONS = 1000  # fewer, and the ranker learns from choices instead

PATIENCE_S = 600.0  # a bucket that is away so long when a version is to be published takes the training with it

Activation = Literal["guarded", "always", "never"]


@dataclass(frozen=True)
class Trained:
    """A published version; ``why`` it serves or does not, as the rest of a sentence."""

    manifest: Manifest
    active: bool
    why: str


def train(
    home: Home,
    until: int | None,
    display: Progress,
    *,
    warm: bool = False,
    activation: Activation = "guarded",
    crew: Crew = HERE,
) -> Trained | None:
    """Fit all models on what was received before ``until`` (ms; None = everything) and publish them.

    With ``warm`` the active version goes on from where it ended; None when nothing has happened since. ``guarded``
    activates unless the version is worse than the active one by more than ``training.max_regression``. ``crew``
    trains the networks, but not with ``warm``, which is quick.
    Raises HomeError when the log holds too little to learn from, or there is nothing that fits to go on from.
    """
    config, log, progress = home.config, home.log(), Clocked(display)
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    try:
        home.models().active()  # a place that cannot be reached is better said now than after hours
        models = home.models(PATIENCE_S)
        start = Start.open(models, config) if warm else None
        folder = home.directory / catalogue_copy.FOLDER
        live = Live(log, config, events=False, restore=lambda live: catalogue_copy.restore(live, folder))
        catalogue_copy.save_if_worth(live, folder, 0)
        data = TrainingData.read(live, until)
        if start is not None and not _anything_new(start, data, progress):
            return None
        with models.draft() as draft:
            fit = (
                _fit(data, config, draft, progress, crew)
                if start is None
                else fit_warm(data, config, start, draft, progress)
            )
            found = compare(models, config, live, draft, fit.held, fit.tasks, progress)
            active, why = _verdict(found, activation, config.training.max_regression)
            version = models.publish(draft, _manifest(data, config, fit, found, progress.seconds), activate=active)
        models.prune(config.storage.keep_versions)
        return Trained(models.manifest(version), active, why)
    finally:
        log.close()


def _anything_new(start: Start, data: TrainingData, progress: Progress) -> bool:
    if data.until < start.manifest.until_ms:
        raise HomeError(
            f"version {start.version} has learned from everything before {_when(start.manifest.until_ms)}; --until "
            f"{_when(data.until)} is earlier. Name a later moment, or run `upnext train`, in full."
        )
    new = int(start.unlearned(data.events).sum())
    said = f"{new:,} new events" if new else "Nothing is new"
    progress.say(f"{said} since version {start.version} (trained until {_when(start.manifest.until_ms)})")
    return new > 0


def _verdict(found: Comparison, activation: Activation, margin: float) -> tuple[bool, str]:
    if activation == "never":
        return False, f"as asked; {found.said}"
    if found.worse is None or found.worse <= margin:
        return True, found.said
    worse = f"its mean AUC is lower than the active version's by {found.worse:.4f}, more than "
    said = f"{worse}training.max_regression = {margin:g}: {found.said}"
    return activation == "always", said


def _fit(data: TrainingData, config: Config, draft: Path, progress: Progress, crew: Crew) -> Fit:
    live, seed = data.live, config.training.seed
    vocabulary = data.vocabulary(data.interactions(data.until)[0])
    replay = Replay(config.features, live.roles, live.catalogue, data.events)
    split = _split(data, config)
    early = draft / "early"
    shown = _from_impressions(data, config, progress)
    progress.say("Sources, on the first part of the window: their scores become features")
    first = fit_sources(data, vocabulary, split, config, early, seed, progress, crew=crew)
    kind: ExampleKind = "choices" if shown is None else "impressions"
    examples, tasks = shown or _from_choices(data, config, replay, early, split, progress)
    progress.say(f"Ranker: {len(examples):,} rows, tasks {', '.join(tasks)}")
    ordered = in_order(data.interactions(data.until)[0], first.reading)
    if shown is None and not ordered:
        progress.say("The order of the log says nothing: the ranker is a weight a feature, and no counters of items")
    curve, held = _fit_ranker(
        data, config, vocabulary, replay, examples, tasks, early, draft, split, progress, crew, ordered
    )
    if shown is not None:
        _fit_choice(data, config, vocabulary, replay, held.names, early, draft, split, progress)
    shutil.rmtree(early)
    progress.say("Sources, on the whole window")
    sources = fit_sources(data, vocabulary, data.until, config, draft, seed, progress, first, crew)
    return Fit(
        metrics={"sources": sources.metrics(), "ranker": {"rows": len(examples), "tasks": list(tasks), "curve": curve}},
        tasks=tasks,
        feature_names=held.names,
        details={
            "examples": kind,
            "ranker_learned_until": int(held.examples.moments.now[0]),
        },
        held=held,
    )


def _split(data: TrainingData, config: Config) -> int:
    """The moment until which the early sources learn: source_share of the impressions, else most of the choices."""
    impressions = np.flatnonzero(data.live.roles.is_impression[data.events.type])
    if len(impressions) >= FEWEST_IMPRESSIONS:
        return int(np.quantile(data.events.received_at[impressions], config.training.source_share))
    return int(np.quantile(data.events.received_at[data.positive_rows(data.events)], SOURCES_SHARE))


def _from_impressions(
    data: TrainingData, config: Config, progress: Progress
) -> tuple[Examples, dict[str, TaskConfig]] | None:
    """Impressions with their outcomes, and the tasks that they teach; None where there are too few of them."""
    tasks = config.ranking.tasks
    examples = from_impressions(data.events, data.live.roles, tasks, 0, data.until)
    if len(examples) < FEWEST_IMPRESSIONS:
        return None
    examples = examples.latest(config.training.max_examples)
    found = learnable(examples, tasks)
    for name in tasks.keys() - found.keys():
        progress.say(f"Task {name} is left out: too few {tasks[name].event!r} events on impressions")
    return (examples, found) if found else None


def _from_choices(
    data: TrainingData, config: Config, replay: Replay, early: Path, split: int, progress: Progress
) -> tuple[Examples, dict[str, TaskConfig]]:
    """What was chosen next among the candidates of the early sources."""
    live = data.live
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
    return examples, {CHOICE_TASK: config.ranking.tasks.get(CHOICE_TASK, TaskConfig(event="click", weight=1.0))}


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
    crew: Crew,
    ordered: bool,
) -> tuple[list[dict[str, float]], Held]:
    """The training curve, and the validation slice."""
    live, seed, folder = data.live, config.training.seed, draft / RANKER_FOLDER
    scorers = load_sources(config, live, early).scorers
    rows = ranker_data(examples, replay, live, scorers, split, vocabulary, config, progress)
    names = tuple(name for hydrator in hydrators(config, live, scorers) for name in hydrator.names)
    content, actions = data.content(vocabulary), actions_of(live)
    fitted = fit_ranker(rows, content, vocabulary, tasks, names, actions, config.ranking, seed, progress, crew, ordered)
    fitted.save(folder)
    vocabulary.save(folder)
    fit_linear(rows, fitted.spec.columns, names, seed).save(folder)
    return fitted.curve, Held(examples, rows.features, names, replay).part(min(rows.validation_from, rows.batch - 1))


def _fit_choice(
    data: TrainingData,
    config: Config,
    vocabulary: Vocabulary,
    replay: Replay,
    names: tuple[str, ...],
    early: Path,
    draft: Path,
    split: int,
    progress: Progress,
) -> None:
    """How people chose among candidates, shown or not, since the early sources were fitted."""
    live = data.live
    rows = data.positive_rows(data.events)
    rows = rows[data.events.received_at[rows] >= split]
    sources = load_sources(config, live, early)
    lists = from_choices(live, replay, data.events, rows, sources, config, config.training.seed, progress, LISTS)
    if len(lists.moments.user) < FEWEST_LISTS:
        progress.say(f"Choices among candidates are not learned from: only {len(lists.moments.user)}")
        return
    table = ranker_data(lists, replay, live, sources.scorers, split, vocabulary, config, progress)
    fit_choice(table, names).save(draft / RANKER_FOLDER)


def _manifest(
    data: TrainingData, config: Config, fit: Fit, found: Comparison, seconds: Sequence[tuple[str, float]]
) -> Manifest:
    events, names = data.events, fit.feature_names
    compared = {"worse": found.worse, "said": found.said, "active": dict(found.active)}
    return Manifest(
        upnext=__version__,
        first_offset=int(events.offset.min()) if len(events) else -1,
        last_offset=int(events.offset.max(initial=-1)),
        from_ms=int(events.received_at[0]) if len(events) else 0,
        until_ms=data.until,
        items_revision=data.live.items_revision,
        events=len(events),
        config_digest=config.digest(),
        feature_names=names,
        feature_digest=hashlib.sha256("\n".join(names).encode()).hexdigest()[:16],
        tasks=tuple(fit.tasks),
        metrics={
            **fit.metrics,
            "ranker": {**fit.metrics["ranker"], "validation": dict(found.new)},
            "against_active": compared,
            "seconds": seconds,
        },
        seeds={"training": config.training.seed},
        details={**fit.details, "architecture": architecture(config)},
    )


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
