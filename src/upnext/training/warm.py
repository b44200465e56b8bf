"""``upnext train --warm``: the active version goes on learning, from what happened since.

The ranker's examples are scored by the active version's sources, which have not seen them: no early pass is needed.
Towers and ranker go on from their weights, one pass; ALS goes on from its factors; co-visitation is counted anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from upnext.build import RANKER_FOLDER, SOURCES_FOLDER, Sources, build, hydrators
from upnext.candidates.als import ALSFactors
from upnext.candidates.because_you_watched import CoVisitation
from upnext.config import Config, TaskConfig
from upnext.content import Vocabulary, grow_vocabulary, moved_rows
from upnext.errors import HomeError
from upnext.features.replay import Replay
from upnext.ranking.choice import Choice
from upnext.ranking.linear import Linear
from upnext.ranking.multi_task import RankerSpec
from upnext.storage.artifacts import Manifest, Models
from upnext.training.against_active import Held
from upnext.training.als import fit_als
from upnext.training.choices import CHOICE_TASK, from_choices
from upnext.training.co_visitation import fit_co_visitation
from upnext.training.data import TrainingData
from upnext.training.examples import Examples, from_impressions
from upnext.training.fit import Fit, architecture, learned_until
from upnext.training.progress import Progress
from upnext.training.ranker import continue_ranker
from upnext.training.ranker_data import ranker_data
from upnext.training.ranker_fit import RankerData
from upnext.training.sources import SourcesFit
from upnext.training.two_tower import fit_two_tower
from upnext.training.weights import Weights
from upnext.types import Bool, Events, Int64

FEWEST_ROWS = 1000  # fewer, and the ranker stays as it is
REPLAY = 3.0  # old rows a new one, the latest: against forgetting
MOST_ROWS = 0.3  # of all impressions, above which no old ones are replayed
SWEEPS = 2  # of ALS: it starts where it ended
RATE = 0.5  # of the learning rates
VALIDATION_SHARE = 0.2  # of the new requests, at least: they are few


@dataclass(frozen=True)
class Start:
    """The version that is gone on from."""

    version: str
    folder: Path
    manifest: Manifest
    spec: RankerSpec
    vocabulary: Vocabulary

    @classmethod
    def open(cls, models: Models, config: Config) -> Start:
        """The active version. Raises HomeError where there is none, or where it does not fit the settings of now."""
        version = models.active()
        if version is None:
            raise HomeError(
                f"{models.place}: no version is active that could be gone on from. Run `upnext train`, in full."
            )
        folder, manifest = models.open(version)
        _same(version, manifest.details.get("architecture"), architecture(config))
        ranker = folder / RANKER_FOLDER
        return cls(version, folder, manifest, RankerSpec.load(ranker), Vocabulary.load(ranker))

    def unlearned(self, events: Events) -> Bool:
        """The events that the version has not learned from: received since, or written since with an older time."""
        late: Bool = np.asarray(events.offset > self.manifest.last_offset)
        return late | (events.received_at >= self.manifest.until_ms)


def _same(version: str, theirs: Any, mine: Mapping[str, Any]) -> None:
    if not isinstance(theirs, Mapping):
        raise HomeError(f"version {version} kept nothing to go on from. Run `upnext train`, in full.")
    differ = [key for key in sorted(mine.keys() | theirs.keys()) if mine.get(key) != theirs.get(key)]
    if differ:
        said = "; ".join(f"{key} is {_shown(mine, key)}, it has {_shown(theirs, key)}" for key in differ[:3])
        more = f"; and {len(differ) - 3} more" if len(differ) > 3 else ""
        raise HomeError(
            f"version {version} was trained with other settings: {said}{more}. Run `upnext train`, in full, or "
            "restore the settings."
        )


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return repr(settings[key]) if key in settings else "not set"


def fit_warm(data: TrainingData, config: Config, start: Start, draft: Path, progress: Progress) -> Fit:
    """Write the next version into ``draft``. Raises HomeError when the catalogue no longer fits the weights."""
    live = data.live
    vocabulary = _grown(data, start)
    rows = moved_rows(start.vocabulary, vocabulary)
    sources = build(config, live, start.folder, start.version).sources
    names = tuple(name for hydrator in hydrators(config, live, sources.scorers) for name in hydrator.names)
    _same_features(start, names)
    replay = Replay(config.features, live.roles, live.catalogue, data.events)
    tasks = _tasks(start.spec, config)
    examples = _examples(data, config, start, sources, replay, tasks, progress)
    first, table = _first_new(examples, start), None
    if _enough(examples, first, progress):
        table = ranker_data(
            examples, replay, live, sources.scorers, start.manifest.until_ms, vocabulary, config, progress,
            start.spec.actions,
        )  # fmt: skip
        share = max(VALIDATION_SHARE, config.training.validation_share)
        table = replace(table, validation_from=max(1, table.batch - int(share * (table.batch - first))))
    curve = _continue_ranker(data, config, start, vocabulary, rows, table, first, draft, progress)
    recall = _continue_sources(data, config, start, vocabulary, rows, draft, progress)
    return Fit(
        metrics={
            "sources": recall,
            "ranker": {"rows": len(examples) if table else 0, "tasks": list(tasks), "curve": curve},
        },
        tasks=tasks,
        feature_names=names,
        details={
            "examples": start.manifest.details.get("examples"),
            "ranker_learned_until": _learned_until(start, examples, table, data.until),
            "warm": {"from": start.version, "new_events": int(start.unlearned(data.events).sum())},
        },
        held=None if table is None else _held(examples, table, names, replay),
    )


def _grown(data: TrainingData, start: Start) -> Vocabulary:
    fresh = data.vocabulary(data.interactions(data.until)[0])
    if fresh.vector_size != start.vocabulary.vector_size:
        raise HomeError(
            f"items come with vectors of length {fresh.vector_size}, version {start.version} was trained with "
            f"{start.vocabulary.vector_size}. Run `upnext train`, in full."
        )
    return grow_vocabulary(start.vocabulary, fresh)


def _same_features(start: Start, names: tuple[str, ...]) -> None:
    if names != start.spec.feature_names:
        differ = sorted(set(names) ^ set(start.spec.feature_names))
        raise HomeError(
            f"version {start.version} was trained on other features (not in both: {', '.join(differ[:5])}). Run "
            "`upnext train`, in full."
        )


def _learned_until(start: Start, examples: Examples, table: RankerData | None, until: int) -> int:
    if table is None:
        return int(start.manifest.details.get("ranker_learned_until", start.manifest.until_ms))
    return learned_until(examples, table.validation_from, until)


def _held(examples: Examples, table: RankerData, names: tuple[str, ...], replay: Replay) -> Held:
    return Held(examples, table.features, names, replay).part(table.validation_from)


def _tasks(spec: RankerSpec, config: Config) -> dict[str, TaskConfig]:
    """The tasks that the network has, in its order."""
    of_choices = TaskConfig(event="click", weight=1.0)
    every = {CHOICE_TASK: of_choices, **config.ranking.tasks}
    return {name: every[name] for name in (*spec.binary_tasks, *spec.seconds_tasks)}


def _examples(
    data: TrainingData,
    config: Config,
    start: Start,
    sources: Sources,
    replay: Replay,
    tasks: Mapping[str, TaskConfig],
    progress: Progress,
) -> Examples:
    """Labelled rows since the version's window, of the kind that it was trained on."""
    live, since = data.live, start.manifest.until_ms
    if start.manifest.details.get("examples") != "choices":
        found = from_impressions(data.events, live.roles, tasks, _replay_from(data, since), data.until)
        return found.latest(config.training.max_examples)
    rows = data.positive_rows(data.events)
    rows = rows[data.events.received_at[rows] >= since]
    return from_choices(live, replay, data.events, rows, sources, config, config.training.seed, progress)


def _first_new(examples: Examples, start: Start) -> int:
    """The first request that the version has not learned from: they are in time order."""
    return int(np.searchsorted(examples.moments.now, start.manifest.until_ms, side="left"))


def _enough(examples: Examples, first: int, progress: Progress) -> bool:
    old = int(examples.moments.offsets[first])
    new = len(examples) - old
    if new < FEWEST_ROWS:
        progress.say(f"Ranker: left as it is, there are only {new:,} new rows to learn from")
        return False
    progress.say(f"Ranker: {new:,} new rows, and {old:,} of the latest before them")
    return True


def _replay_from(data: TrainingData, since: int) -> int:
    """The moment (ms) from which on impressions are learned from: REPLAY old ones a new one, within MOST_ROWS."""
    at = data.events.received_at[data.live.roles.is_impression[data.events.type]]
    old = int(np.searchsorted(at, since, side="left"))
    new = len(at) - old
    replayed = int(min(REPLAY * new, max(MOST_ROWS * len(at) - new, 0), old))
    return int(at[old - replayed]) if replayed else since


def _continue_ranker(
    data: TrainingData,
    config: Config,
    start: Start,
    vocabulary: Vocabulary,
    rows: Mapping[str, Int64],
    table: RankerData | None,
    calibrate_from: int,
    draft: Path,
    progress: Progress,
) -> list[dict[str, float]]:
    before, folder = start.folder / RANKER_FOLDER, draft / RANKER_FOLDER
    once = config.ranking.model_copy(update={"epochs": 1, "learning_rate": RATE * config.ranking.learning_rate})
    fitted = continue_ranker(
        table, data.content(vocabulary), vocabulary, start.spec, Weights.load(before, rows), once,
        config.training.seed, progress, calibrate_from,
    )  # fmt: skip
    fitted.save(folder)
    vocabulary.save(folder)
    Linear.load(before, start.spec.columns, start.spec.feature_names).save(folder)
    if (choice := Choice.load(before, start.spec.feature_names)) is not None:
        choice.save(folder)
    return fitted.curve


def _continue_sources(
    data: TrainingData,
    config: Config,
    start: Start,
    vocabulary: Vocabulary,
    rows: Mapping[str, Int64],
    draft: Path,
    progress: Progress,
) -> dict[str, object]:
    interactions, events = data.interactions(data.until)
    c, threads, seed = config.candidates, config.training.threads, config.training.seed
    before, folder = start.folder / SOURCES_FOLDER, draft / SOURCES_FOLDER
    recall: tuple[float, ...] = ()
    if c.als.enabled:
        again = c.als.model_copy(update={"epochs": min(SWEEPS, c.als.epochs)})
        factors = ALSFactors.load(before / "als")
        fit_als(interactions, again, seed, threads, progress, factors).save(folder / "als")
    if c.because_you_watched.enabled:
        reading = CoVisitation.load(before / "because_you_watched").reading
        fitted = fit_co_visitation(interactions, c.because_you_watched, progress, reading)
        fitted.save(folder / "because_you_watched")
    if c.two_tower.enabled:
        new = start.unlearned(events)
        late = np.quantile(interactions.at[new], 1 - config.training.validation_share) if new.any() else data.until
        once = c.two_tower.model_copy(update={"epochs": 1, "learning_rate": RATE * c.two_tower.learning_rate})
        model = fit_two_tower(
            interactions, data.content(vocabulary), vocabulary, data.attributes(vocabulary), once, seed=seed,
            threads=threads, progress=progress, surface=data.surfaces(events, vocabulary),
            validation_from=max(int(late), start.manifest.until_ms), refit=True,
            start=Weights.load(before / "two_tower", rows), users=np.unique(interactions.user[new]),
        )  # fmt: skip
        model.save(folder / "two_tower", progress)
        recall = model.recall
    return SourcesFit(len(interactions), recall).metrics()
