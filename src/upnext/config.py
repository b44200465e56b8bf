"""Everything that can be set, typed: the sections of a home's configuration are the funnel in order.

``settings.py`` reads it from file, environment and flags, and writes the commented file.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def _merged(defaults: Mapping[str, Section], given: object) -> object:
    """A table whose entries keep the default's fields that the file does not name."""
    if not isinstance(given, dict):
        return given
    merged: dict[str, object] = dict(defaults)
    for name, entry in given.items():
        if name in defaults and isinstance(entry, dict):
            entry = {**defaults[name].model_dump(), **entry}
        merged[name] = entry
    return merged


class EventType(Section):
    """How one kind of event counts."""

    weight: float = Field(
        1.0, description="Preference it expresses; 0 = none, below 0 = against the item.", ge=-100, le=100
    )
    min_value: float | None = Field(None, description="Below this value (seconds, stars) it expresses no preference.")


def _default_types() -> dict[str, EventType]:
    return {
        "impression": EventType(weight=0.0),
        "seen": EventType(weight=0.0),
        "click": EventType(weight=1.0),
        "watch": EventType(weight=1.0, min_value=10.0),
        "like": EventType(weight=2.0),
        "share": EventType(weight=3.0),
        "long_view": EventType(weight=2.0),
        "rating": EventType(weight=1.0),
        "purchase": EventType(weight=3.0),
        "follow": EventType(weight=2.0),
        "comment": EventType(weight=2.0),
        "dislike": EventType(weight=-1.0),
        "hide": EventType(weight=-1.0),
    }


class EventsConfig(Section):
    """[events] What people do. `impression` = shown by a slate; `seen` = known to have been shown, nothing more."""

    types: dict[str, EventType] = Field(
        default_factory=_default_types,
        description="Every event type that is accepted. Add your own: [events.types.bookmark] weight = 2.",
    )

    @field_validator("types", mode="before")
    @classmethod
    def _keep_defaults(cls, given: object) -> object:
        return _merged(_default_types(), given)


class StorageConfig(Section):
    """[storage] Where the log, the catalogue and the models live."""

    log: str = Field(
        "sqlite:///var/log.db",
        description="The event log and catalogue: a file (a relative path is inside the home), or "
        "postgresql://user@host/database for several machines (docs/storage.md).",
    )
    models: str = Field("var/models", description="Published model versions: a folder, or s3://bucket/prefix.")
    snapshot_events: int = Field(
        50_000, description="A server saves the live state after so many events, so that a restart is quick.", ge=1
    )
    keep_versions: int = Field(5, description="Older model versions are deleted.", ge=1)


class SourceConfig(Section):
    enabled: bool = Field(True, description="Take part at all.")
    quota: int = Field(200, description="At most this many candidates.", ge=0, le=100_000)


class ALSConfig(SourceConfig):
    """[candidates.als] Matrix factorisation for implicit feedback; users are folded in at request time."""

    quota: int = Field(400, description="At most this many candidates.", ge=0)
    embedding_size: int = Field(64, description="Number of factors.", ge=2, le=1024)
    regularization: float = Field(50.0, description="L2 on the factors.", gt=0)
    alpha: float = Field(20.0, description="Confidence of an event of weight 1.", gt=0)
    epochs: int = Field(12, description="Alternating sweeps.", ge=1)


class TwoTowerConfig(SourceConfig):
    """[candidates.two_tower] User tower and item tower; nearest items by FAISS."""

    quota: int = Field(600, description="At most this many candidates.", ge=0)
    embedding_size: int = Field(64, description="Size of user and item vectors.", ge=4, le=1024)
    epochs: int = Field(32, description="At most; stops early when validation recall stops rising.", ge=1)
    max_steps: int = Field(6000, description="Fewer epochs where they would take more steps than this.", ge=1)
    batch_size: int = Field(1024, description="Examples a step.", ge=8)
    learning_rate: float = Field(2e-3, description="Adam's step.", gt=0)
    negatives: int = Field(1024, description="Uniform negatives shared by a batch, besides the in-batch ones.", ge=1)
    in_batch_negatives: int = Field(256, description="Negatives drawn from the other examples of a batch.", ge=0)
    dropout: float = Field(0.2, description="On the history that the user tower reads.", ge=0, lt=1)
    temperature: float = Field(0.1, description="Softmax temperature on cosine similarities.", gt=0)
    id_dropout: float = Field(
        0.1, description="How often training hides an item's id, so that content alone places it.", ge=0, le=1
    )
    history_size: int = Field(50, description="Watched items that the user tower reads.", ge=1, le=500)
    encoder: Literal["average", "transformer"] = Field("transformer", description="How the history is read.")
    dynamic_limit: int = Field(
        10_000,
        description="Items added, changed or gone since the index was built; beyond that it is built anew.",
        ge=1,
    )
    examples_per_user: int = Field(
        100, description="Latest examples kept a user, so that the heaviest do not decide for all.", ge=1
    )


class FavouriteTopicsConfig(SourceConfig):
    """[candidates.favourite_topics] The best items of the categories and authors that the user turns to most."""

    quota: int = Field(400, description="At most this many candidates.", ge=0)
    topics: int = Field(12, description="Categories and authors looked into, the strongest.", ge=1)
    items_a_topic: int = Field(300, description="The best of each that are looked at.", ge=1)
    history_half_life: float = Field(30.0, description="Events after which a liked item counts half.", gt=0)
    refresh_seconds: int = Field(300, description="How long the lists of best items stay as they are.", ge=1)


class TrendingConfig(SourceConfig):
    """[candidates.trending] What is being watched now, decayed by time."""

    quota: int = Field(100, description="At most this many candidates.", ge=0)
    half_life_hours: float = Field(24.0, description="After this long an event counts half.", gt=0)


class WatchAgainConfig(SourceConfig):
    """[candidates.watch_again] Continue what was left unfinished; repeat what is repeated."""

    quota: int = Field(20, description="At most this many candidates.", ge=0)
    finished_from: float = Field(
        0.9, description="A watch of at least this share of the duration is finished.", ge=0, le=1
    )
    min_duration: float = Field(300.0, description="Only items at least this long (seconds) are continued.", ge=0)
    min_repeats: int = Field(3, description="Items acted on in at least this many sittings are offered again.", ge=2)


class BecauseYouWatchedConfig(SourceConfig):
    """[candidates.because_you_watched] Co-visitation: what others went on to, with recency and direction."""

    quota: int = Field(400, description="At most this many candidates.", ge=0)
    neighbours: int = Field(200, description="Neighbours kept an item.", ge=1)
    shrinkage: float | None = Field(None, description="Pulls rare pairs down; None = found from the log.", ge=0)
    history_decay: float | None = Field(
        None,
        description="Weight of each older visit against the next newer one; None = found from the log.",
        gt=0,
        le=1,
    )
    window: int = Field(
        5, description="How many steps ahead the directed part looks; 0 = undirected only.", ge=0, le=50
    )


class NewItemsConfig(SourceConfig):
    """[candidates.new_items] Just published, and not yet tried."""

    quota: int = Field(60, description="At most this many candidates.", ge=0)
    max_age_days: float = Field(7.0, description="How old is still new.", gt=0)


class CandidatesConfig(Section):
    """[candidates] Millions of items -> about a thousand. Each source has a quota and a score column."""

    total: int = Field(1000, description="Candidates that reach the ranker, at most.", ge=1, le=100_000)
    als: ALSConfig = Field(default_factory=ALSConfig)
    two_tower: TwoTowerConfig = Field(default_factory=TwoTowerConfig)
    because_you_watched: BecauseYouWatchedConfig = Field(default_factory=BecauseYouWatchedConfig)
    favourite_topics: FavouriteTopicsConfig = Field(default_factory=FavouriteTopicsConfig)
    trending: TrendingConfig = Field(default_factory=TrendingConfig)
    watch_again: WatchAgainConfig = Field(default_factory=WatchAgainConfig)
    new_items: NewItemsConfig = Field(default_factory=NewItemsConfig)


class FeaturesConfig(Section):
    """[features] What is known at the moment of the request; the same definition serves and trains."""

    history_size: int = Field(
        64, description="Last events kept a user, of feedback and of impressions each.", ge=1, le=1000
    )
    half_lives_days: tuple[float, ...] = Field(
        (1.0, 14.0),
        description="Decay of the counters; each adds its own features.",
        min_length=1,
        max_length=4,
    )
    tick_seconds: int = Field(60, description="Shared counters advance in steps of this many seconds.", ge=1)


class TaskConfig(Section):
    """One head of the ranker."""

    event: str = Field(description="The event type that is predicted.")
    kind: Literal["binary", "seconds"] = Field("binary", description="A probability, or seconds watched.")
    weight: float = Field(0.0, description="In value = sum of weight x prediction. Can be changed without retraining.")
    cap: float = Field(3600.0, description="Seconds: longer watches count as this long.", gt=0)


def _default_tasks() -> dict[str, TaskConfig]:
    return {
        "click": TaskConfig(event="click", weight=1.0),
        "like": TaskConfig(event="like", weight=2.0),
        "share": TaskConfig(event="share", weight=4.0),
        "long_view": TaskConfig(event="long_view", weight=0.0),
        "watch": TaskConfig(event="watch", kind="seconds", weight=0.01, cap=3600.0),
    }


class RankingConfig(Section):
    """[ranking] One multi-task network. A task whose event never occurs in the log is left out, and said so."""

    tasks: dict[str, TaskConfig] = Field(
        default_factory=_default_tasks, description="The heads, their events and their weights."
    )
    embedding_size: int = Field(32, description="Size of item representations inside the ranker.", ge=4, le=512)
    experts: int = Field(4, description="Experts of the mixture.", ge=1, le=32)
    expert_sizes: tuple[int, ...] = Field((64, 32), description="Layers of each expert.", min_length=1)
    attention_heads: int = Field(4, description="Heads of the attention from candidate to history.", ge=1, le=16)
    history_size: int = Field(50, description="History events attended to.", ge=1, le=500)
    epochs: int = Field(4, description="At most; stops early on the validation slice.", ge=1)
    batch_size: int = Field(1024, description="Rows a step.", ge=8)
    learning_rate: float = Field(1e-3, description="Adam's step.", gt=0)
    dropout: float = Field(0.1, description="On the experts' inputs; not on lists of choices.", ge=0, lt=1)
    id_dropout: float = Field(0.35, description="How often training hides an item's or a user's id.", ge=0, le=1)
    candidates_per_event: int = Field(
        64, description="Of a list of choices: a chosen item and source candidates beside it.", ge=2
    )
    choice_power: float = Field(
        0.2, description="How much value is held to what people choose among candidates; 0 = not.", ge=0, le=4
    )

    @field_validator("tasks", mode="before")
    @classmethod
    def _keep_defaults(cls, given: object) -> object:
        return _merged(_default_tasks(), given)


class FiltersConfig(Section):
    """[reranking.filters] What is never shown."""

    watched: bool = Field(
        True, description="Remove what the user already acted on (watch_again's proposals are spared)."
    )


class ExplorationConfig(Section):
    """[reranking.exploration] The promise to new items: their first impressions within hours, at a bounded price."""

    budget: float = Field(
        0.1, description="Share of all slots, at most, for items that are owed impressions; 0 = none.", ge=0, le=1
    )
    max_cost: float = Field(
        0.02, description="Share of the value of all slates, at most, that exploring may cost by estimate.", ge=0, le=1
    )
    max_impressions: float = Field(50.0, description="Impressions that every new item is promised.", ge=0)
    within_hours: float = Field(24.0, description="How long after its publication the promise is open.", gt=0)
    pool: int = Field(5, description="The best of them by optimistic value, among which one is drawn.", ge=1)

    @model_validator(mode="before")
    @classmethod
    def _slots_of_ten(cls, given: object) -> object:
        """Homes made before there was a budget say ``slots``: how many of 10 are explored."""
        if not isinstance(given, dict) or type(slots := given.get("slots")) is not int or not 0 <= slots <= 10:
            return given
        rest = {name: value for name, value in given.items() if name != "slots"}
        return {"budget": slots / 10, **rest}


class RerankingConfig(Section):
    """[reranking] The slate as a whole."""

    method: Literal["mmr", "dpp", "none"] = Field("mmr", description="How diversity is brought in.")
    diversity: float = Field(0.2, description="0 = by value alone, 1 = as different as can be.", ge=0, le=1)
    pool: int = Field(100, description="The best by value, among which the slate is chosen.", ge=1, le=5000)
    window: int = Field(10, description="DPP: how many neighbouring positions must differ.", ge=1)
    freshness_boost: float = Field(
        0.1, description="Share of extra value for an item published this moment.", ge=0, le=10
    )
    freshness_half_life_days: float = Field(3.0, description="After this long the boost is half.", gt=0)
    fatigue: float = Field(
        0.3, description="Share of value that an impression which the user did not answer takes away.", ge=0, lt=1
    )
    fatigue_half_life_hours: float = Field(24.0, description="After this long it takes away half as much.", gt=0)
    filters: FiltersConfig = Field(default_factory=FiltersConfig)
    exploration: ExplorationConfig = Field(default_factory=ExplorationConfig)


class ServingConfig(Section):
    """[serving] The HTTP server."""

    host: str = Field("127.0.0.1", description="Listen address. Anything but loopback needs api_key.")
    port: int = Field(8080, description="Listen port.", ge=0, le=65535)
    api_key: str | None = Field(
        None, description="If set, every call but health needs `Authorization: Bearer KEY`.", min_length=16
    )
    deadline_ms: float = Field(150.0, description="The answer degrades in order rather than take longer.", gt=0)
    max_wait_ms: float = Field(
        120.0,
        description="A request whose answer is expected to take longer, waiting included, is refused with 503.",
        gt=0,
    )
    max_k: int = Field(500, description="Largest slate a caller may ask for.", ge=1)
    threads: int = Field(
        1, description="Requests computed at once, by each process. More take turns at the interpreter.", ge=1, le=256
    )
    ranker_threads: int = Field(2, description="Threads that rank the candidates of one request.", ge=1, le=64)
    workers: int = Field(
        1, description="Processes that answer. Each holds all models and tails the same log.", ge=1, le=64
    )


class TrainingConfig(Section):
    """[training] How `upnext train` fits the models."""

    seed: int = Field(0, description="Everything random follows from it.", ge=0)
    threads: int = Field(0, description="0 = all cores.", ge=0)
    validation_share: float = Field(
        0.1, description="The last share of the window, by time, decides when to stop.", gt=0, lt=0.5
    )
    source_share: float = Field(
        0.5,
        description="Sources fitted on this first share of the impressions score the ranker's examples.",
        gt=0,
        lt=1,
    )
    max_examples: int = Field(
        2_000_000, description="The ranker learns from at most this many rows, the latest.", ge=100
    )
    max_regression: float = Field(
        0.02,
        description="A version whose mean AUC is lower than the active one's by more is not activated by itself.",
        ge=0,
        le=1,
    )


class EvaluationConfig(Section):
    """[evaluation] How `upnext evaluate` measures."""

    k: int = Field(10, description="Length of the measured slate.", ge=1)
    users: int = Field(1000, description="Users measured on whole slates, drawn by seed; 0 = all.", ge=0)
    watch_cap: float = Field(120.0, description="Seconds at which watch time is capped in MAE and XAUC.", gt=0)


class Config(Section):
    """All of it. ``upnext init`` writes every field with its description."""

    events: EventsConfig = Field(default_factory=EventsConfig)
    storage: StorageConfig = Field(default_factory=StorageConfig)
    candidates: CandidatesConfig = Field(default_factory=CandidatesConfig)
    features: FeaturesConfig = Field(default_factory=FeaturesConfig)
    ranking: RankingConfig = Field(default_factory=RankingConfig)
    reranking: RerankingConfig = Field(default_factory=RerankingConfig)
    serving: ServingConfig = Field(default_factory=ServingConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)

    @model_validator(mode="after")
    def _tasks_name_known_events(self) -> Config:
        for name, task in self.ranking.tasks.items():
            if task.event not in self.events.types:
                near = nearest(task.event, self.events.types)
                message, key = f"{task.event!r} is no event type{near}", f"ranking.tasks.{name}.event"
                raise PydanticCustomError("unknown_event", "{message}", {"message": message, "key": key})
        return self

    def digest(self) -> str:
        """A hash of every setting, for manifests."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def nearest(word: str, names: Iterable[str]) -> str:
    """The end of a sentence that refused ``word``: what was probably meant, or what there is."""
    known = sorted(names)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
