"""Configuration + a model version -> a live funnel. The only importer of the stages' implementations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from upnext.candidates.als import ALS, ALSFactors
from upnext.candidates.because_you_watched import BecauseYouWatched, CoVisitation
from upnext.candidates.favourite_topics import FavouriteTopics
from upnext.candidates.index import Sizes
from upnext.candidates.item_space import ItemSpace, LocalSpace
from upnext.candidates.new_items import NewItems, Owed
from upnext.candidates.share import Share
from upnext.candidates.spread import Places
from upnext.candidates.trending import Trending
from upnext.candidates.two_tower import TwoTower
from upnext.candidates.watch_again import WatchAgain
from upnext.config import Config, SourceConfig
from upnext.content import ItemContent, Vocabulary, encode_items, encode_surfaces, encode_users, place_users
from upnext.features.hydrate import SourceScores, StateFeatures
from upnext.live import Live
from upnext.pipeline import Funnel
from upnext.ranking.choice import Choice, WithChoice
from upnext.ranking.item_vectors import ItemVectors
from upnext.ranking.linear import Linear
from upnext.ranking.multi_task import ITEM_VECTORS_FILE, SCORER_FILE, MultiTask, RankerSpec, open_session
from upnext.ranking.value import WeightedSum
from upnext.reranking.dpp import DPP
from upnext.reranking.exploration import Exploration, not_accounted
from upnext.reranking.fatigue import Fatigue
from upnext.reranking.filters import Available, Blocked, Excluded, InCategories, Published, Watched
from upnext.reranking.freshness import FreshnessBoost
from upnext.reranking.mmr import MMR
from upnext.reranking.similarity import Similarity
from upnext.stages import Boost, Filter, Hydrator, Observer, PairScorer, Reranker, Source
from upnext.types import Float32, Int32, Requests
from upnext.vectors import ItemTable, Vectors

SOURCES_FOLDER = "sources"
RANKER_FOLDER = "ranker"
TWO_TOWER, RANKER = "two_tower", "ranker"  # whose item vectors may lie elsewhere


class Elsewhere(Protocol):
    """Item vectors of model versions that other processes hold, each a share of them."""

    def space(self, version: str) -> ItemSpace | None:
        """That of two_tower; None where the version has no such source."""
        ...

    def table(self, version: str) -> ItemTable:
        """The ranker's."""
        ...

    def lacking(self) -> Sequence[str]:
        """Which shares do not answer just now, in words."""
        ...


@dataclass(frozen=True)
class Sources:
    """The sources of one model version, in the order of the configuration; models that are absent are left out."""

    enabled: Sequence[tuple[Source, int]]  # with their quotas
    scorers: Sequence[PairScorer]
    two_tower: TwoTower | None

    def upsert(self, codes: Int32, content: Callable[[Vocabulary], ItemContent]) -> None:
        """Make new or changed items findable by their content."""
        if self.two_tower is not None and len(codes):
            self.two_tower.upsert(codes, content(self.two_tower.vocabulary))


def load_sources(config: Config, live: Live, directory: Path, space: ItemSpace | None = None) -> Sources:
    """The sources over the models in ``directory`` and the live state; ``space`` None = that of the directory."""
    c, roles, folder = config.candidates, live.roles, directory / SOURCES_FOLDER
    found: list[tuple[Source, SourceConfig]] = []
    two_tower = None
    if (folder / "als").exists():
        found.append((ALS(ALSFactors.load(folder / "als"), roles.weight, roles.least), c.als))
    if (folder / TWO_TOWER).exists():
        two_tower = load_two_tower(live, folder / TWO_TOWER, space)
        found.append((two_tower, c.two_tower))
    if (folder / "because_you_watched").exists():
        neighbours = CoVisitation.load(folder / "because_you_watched")
        source = BecauseYouWatched(neighbours, roles.weight, roles.least)
        found.append((source, c.because_you_watched))
    found += live_sources(config, live, two_tower)
    return Sources(
        [(source, entry.quota) for source, entry in found if entry.enabled],
        [source for source, _ in found if isinstance(source, PairScorer)],
        two_tower,
    )


def live_sources(config: Config, live: Live, fit: PairScorer | None = None) -> list[tuple[Source, SourceConfig]]:
    """The sources that need no model: they read the live state. ``fit`` says which new items suit whom."""
    c, roles = config.candidates, live.roles
    owed = Owed(live.promises.open_claims, live.promises.urgency, fit)
    new_items = NewItems(c.new_items, live.catalogue, roles.weight, roles.least, live.state.impressions, owed)
    topics = FavouriteTopics(c.favourite_topics, live.catalogue, live.state.quality, roles.weight, roles.least)
    return [
        (topics, c.favourite_topics),
        (Trending(live.state.popularity), c.trending),
        (WatchAgain(c.watch_again, live.catalogue, _seconds_types(live), roles.weight, roles.least), c.watch_again),
        (new_items, c.new_items),
    ]


def without_model(config: Config, live: Live, observers: Sequence[Observer] = ()) -> Funnel:
    """What can be answered before anything was trained: the live sources, in their own order."""
    return Funnel(
        sources=[(source, entry.quota) for source, entry in live_sources(config, live) if entry.enabled],
        filters=filters(config, live),
        hydrators=(),
        rankers=(),
        value=WeightedSum(dict, {}),
        boosts=(),
        rerankers=(),
        total=config.candidates.total,
        observers=observers,
    )


def _seconds_types(live: Live) -> list[int]:
    """Codes of the event types whose value is seconds watched."""
    events = {task.event for task in live.config.ranking.tasks.values() if task.kind == "seconds"}
    return [code for code, name in enumerate(live.roles.names) if name in events]


def load_shares(directory: Path, share: int, shares: int) -> dict[str, tuple[Places, int, Share]]:
    """Of the version in ``directory``, by TWO_TOWER and RANKER: where items lie, numbers a vector, and the share."""
    whole: dict[str, LocalSpace | Vectors] = {RANKER: Vectors.load(directory / RANKER_FOLDER / ITEM_VECTORS_FILE)}
    if (directory / SOURCES_FOLDER / TWO_TOWER).exists():
        whole[TWO_TOWER] = LocalSpace.load(directory / SOURCES_FOLDER / TWO_TOWER)
    places = {name: Places(len(vectors), shares) for name, vectors in whole.items()}
    return {
        name: (places[name], vectors.size, Share(vectors.share(*places[name].range_of(share))))
        for name, vectors in whole.items()
    }


def load_two_tower(live: Live, directory: Path, space: ItemSpace | None = None) -> TwoTower:
    vocabulary = Vocabulary.load(directory)
    return TwoTower.load(
        directory,
        live.roles.weight,
        live.roles.least,
        lambda users: encode_users(live.users(), live.users.attributes.names, vocabulary, users),
        lambda surfaces: encode_surfaces(surfaces, live.surfaces.names, vocabulary),
        space,
    )


def hydrators(config: Config, live: Live, scorers: Sequence[PairScorer]) -> tuple[Hydrator, ...]:
    """The features in the order of the matrix; training replays the very same."""
    return (StateFeatures(config.features, live.state, live.catalogue), SourceScores(scorers))


@dataclass(frozen=True)
class Model:
    """One loaded model version: the funnel, and how to make new items known to it."""

    version: str
    funnel: Funnel
    sources: Sources
    ranker: MultiTask
    choice: Choice | None  # None where the log had no impressions, or of an earlier version of upnext
    _vectors: ItemVectors
    _vocabulary: Vocabulary
    _live: Live

    def upsert_items(self, codes: Int32) -> None:
        """Embed new or changed items from their content, so that they can be found and ranked."""
        if len(codes):
            self.sources.upsert(codes, lambda vocabulary: self._content(vocabulary, codes))
            self._vectors.upsert(codes, self._content(self._vocabulary, codes).columns())

    @property
    def index_sizes(self) -> Sizes | None:
        """Rows of the item index; None without one."""
        tower = self.sources.two_tower
        return None if tower is None else tower.space.sizes

    def rebuild_index(self, limit: int) -> bool:
        """Build the item index anew where more than ``limit`` rows are beside its main part or dead; True if so."""
        tower, sizes = self.sources.two_tower, self.index_sizes
        if tower is None or sizes is None or sizes.dynamic + sizes.tombstones <= limit:
            return False
        tower.rebuild()
        return True

    def retuned(self, config: Config, accounted: bool = True) -> Model:
        """The same models under other value weights and other settings of reranking.

        ``accounted=False``: what its slates explore is taken from no budget, for slates that nobody sees.
        """
        funnel = replace(
            self.funnel,
            value=_value(config, self.ranker.spec),
            boosts=boosts(config, self._live),
            rerankers=rerankers(config, self._live, self._vectors, accounted),
        )
        return replace(self, funnel=funnel)

    @property
    def task_columns(self) -> dict[str, str]:
        """The prediction column of each task."""
        return task_columns(self.ranker.spec)

    def likeness(self, items: Int32) -> Float32:
        """How alike the items are to the reranker, ``[n, n]``, ones on the diagonal."""
        return Similarity(self._live.catalogue, self._vectors)(items)

    def search_exactly(self) -> None:
        """From now on the item index compares all vectors, in single precision: slow, for measurements."""
        if (tower := self.sources.two_tower) is not None:
            tower.rebuild(exact_below=len(self._live.catalogue()) + 1)

    def index_recall(self, k: int, queries: int) -> float | None:
        """Share of the exact k nearest that the index finds, on the latest requests; None where there are none."""
        tower = self.sources.two_tower
        asked = None if tower is None else tower.latest_queries(queries)
        return None if tower is None or asked is None or not len(asked) else tower.space.recall(asked, k)

    def _content(self, vocabulary: Vocabulary, codes: Int32) -> ItemContent:
        return item_content(self._live, vocabulary, codes)


def item_content(live: Live, vocabulary: Vocabulary, codes: Int32 | None = None) -> ItemContent:
    """The live catalogue's items as codes of a vocabulary."""
    catalogue = live.catalogue
    return encode_items(catalogue(), catalogue.authors.names, catalogue.categories.names, vocabulary, codes)


def user_inputs(live: Live, vocabulary: Vocabulary) -> Callable[[Requests], dict[str, Int32]]:
    """What the ranker reads of the user and the context, as codes of a vocabulary."""

    def inputs(requests: Requests) -> dict[str, Int32]:
        return {
            "user": place_users(requests.user, vocabulary),
            "attribute": encode_users(live.users(), live.users.attributes.names, vocabulary, requests.user),
            "surface": encode_surfaces(requests.surface, live.surfaces.names, vocabulary),
        }

    return inputs


def build(
    config: Config,
    live: Live,
    directory: Path,
    version: str,
    observers: Sequence[Observer] = (),
    revision: int = 0,
    elsewhere: Elsewhere | None = None,
) -> Model:
    """The funnel over the model in ``directory``. Raises ArtifactError when a part is missing or does not fit.

    Items of a later ``revision`` of the catalogue than the model knows are embedded from their content. Item vectors
    are those of the directory, unless they lie ``elsewhere``.
    """
    sources = load_sources(config, live, directory, None if elsewhere is None else elsewhere.space(version))
    folder = directory / RANKER_FOLDER
    spec, vocabulary = RankerSpec.load(folder), Vocabulary.load(folder)
    vectors = ItemVectors.load(folder, None if elsewhere is None else elsewhere.table(version))
    ranker = MultiTask(
        spec,
        open_session(folder / SCORER_FILE),
        vectors,
        user_inputs(live, vocabulary),
        lambda: live.roles.names,
        config.serving.ranker_threads,
    )
    choice = Choice.load(folder, spec.feature_names)
    rankers = ranker, Linear.load(folder, spec.columns, spec.feature_names)
    funnel = Funnel(
        sources=sources.enabled,
        filters=filters(config, live),
        hydrators=hydrators(config, live, sources.scorers),
        rankers=rankers if choice is None else [WithChoice(each, choice, live.promises.urgency) for each in rankers],
        value=_value(config, spec),
        boosts=boosts(config, live),
        rerankers=rerankers(config, live, vectors),
        total=config.candidates.total,
        observers=observers,
        lacking=tuple if elsewhere is None else elsewhere.lacking,
    )
    model = Model(version, funnel, sources, ranker, choice, vectors, vocabulary, live)
    changed = live.catalogue.changed_since(revision) if revision else np.empty(0, np.int32)
    model.upsert_items(np.union1d(changed, np.arange(len(vectors()), len(live.catalogue()), dtype=np.int32)))
    return model


def _value(config: Config, spec: RankerSpec) -> WeightedSum:
    tasks, power = config.ranking.tasks, config.ranking.choice_power
    return WeightedSum(lambda: {name: task.weight for name, task in tasks.items()}, task_columns(spec), power)


def task_columns(spec: RankerSpec) -> dict[str, str]:
    """The prediction column that each task's weight multiplies."""
    return {
        **{task: f"p_{task}" for task in spec.binary_tasks},
        **{task: f"{task}_seconds" for task in spec.seconds_tasks},
    }


def filters(config: Config, live: Live) -> tuple[Filter, ...]:
    state = live.state
    always: tuple[Filter, ...] = (
        Available(live.catalogue),
        Published(live.catalogue),
        Excluded(),
        Blocked(live.catalogue, live.users, state.hidden),
        InCategories(live.catalogue),
    )
    return (*always, Watched(state.seen)) if config.reranking.filters.watched else always


def boosts(config: Config, live: Live) -> tuple[Boost, ...]:
    c = config.reranking
    return (
        FreshnessBoost(live.catalogue, c.freshness_boost, c.freshness_half_life_days),
        Fatigue(c.fatigue, c.fatigue_half_life_hours),
    )


def rerankers(config: Config, live: Live, vectors: ItemVectors, accounted: bool = True) -> tuple[Reranker, ...]:
    """``accounted=False``: what is explored is taken from no budget."""
    c = config.reranking
    similarity = Similarity(live.catalogue, vectors)
    diversity: dict[str, Reranker] = {
        "mmr": MMR(similarity, c.diversity, c.pool),
        "dpp": DPP(similarity, c.diversity, c.pool, c.window),
    }
    promises = live.promises
    exploration = Exploration(
        c.exploration,
        live.state.impressions,
        config.training.seed,
        promises.urgency,
        promises.affordable,
        promises.spent if accounted else not_accounted,
    )
    return (*([diversity[c.method]] if c.method != "none" else []), exploration)
