"""The truth of a simulated world: what items are, what people want, and how likely they are to act.

Utility = taste x topics + style x style + quality + freshness - distance from the wished duration. All
probabilities are functions of the utility; they are what a recommender has to find out from the log.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from upnext.errors import ConfigError
from upnext.types import Float32, Float64, Int8, Int16, Int32, Int64

DAY_MS = 86_400_000
MONDAY = 1_736_121_600_000  # 2025-01-06T00:00Z: a fixed start keeps worlds identical whenever they are made

INTERCEPT = -6.0
TASTE = 5.6
STYLE = 0.4
FRESHNESS, FRESHNESS_DAYS = 0.6, 5.0
DURATION = 0.5
TYPICAL_SECONDS = 150.0

# What one expected action is worth, per event type; watch is per second. Clicks count once.
VALUE_WEIGHTS = {"click": 1.0, "like": 2.0, "share": 4.0, "watch": 0.01}


@dataclass(frozen=True)
class WorldConfig:
    """How large the world is and how it moves. Raises ConfigError naming the field and its value."""

    items: int = 20_000
    users: int = 5_000
    impressions: int = 500_000  # rounded up to whole slates; fewer only where a user has seen all items
    days: int = 14
    seed: int = 0
    slate_size: int = 10
    topics: int = 24
    subtopics: int = 4  # of each topic; only titles tell them apart
    drift: float = 0.2  # mean share of a user's taste that is new at the end
    position_bias: float = 0.4  # examination of position p (0 = top) is (1 + p) ** -position_bias
    start_at: int = MONDAY  # Unix ms

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            _check(name, getattr(self, name), low, high)
        if self.slate_size > self.items:
            raise ConfigError(f"slate_size: {self.slate_size} is more than there are items ({self.items})")
        if self.impressions > self.users * self.items // 10:
            raise ConfigError(
                f"impressions: {self.impressions} is more than {self.users} users can be shown of {self.items} "
                f"items without repetition; at most users * items / 10 = {self.users * self.items // 10}"
            )

    @property
    def end_at(self) -> int:
        """Unix ms at which the last day ends."""
        return self.start_at + self.days * DAY_MS

    def stream(self, part: str) -> np.random.Generator:
        """The random numbers of one part: a change in one part leaves the others as they were."""
        return np.random.default_rng([self.seed, *part.encode()])


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("items", 10, 20_000_000),
    ("users", 1, 5_000_000),
    ("impressions", 1, 10_000_000_000),
    ("days", 1, 3650),
    ("seed", 0, 2**63),
    ("slate_size", 1, 200),
    ("topics", 2, 500),
    ("subtopics", 1, 50),
    ("drift", 0.0, 1.0),
    ("position_bias", 0.0, 5.0),
    ("start_at", 0, 2**52),
)
_REAL = {"drift", "position_bias"}


def _check(name: str, value: object, low: float, high: float) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    real = name in _REAL and isinstance(value, float) and math.isfinite(value)
    if not whole and not real:
        kind = "a number" if name in _REAL else "a whole number"
        raise ConfigError(f"{name}: must be {kind}, got {value!r}")
    if not low <= value <= high:  # type: ignore[operator]
        raise ConfigError(f"{name}: must be from {low:,} to {high:,}, got {value!r}")


@dataclass(frozen=True, eq=False)
class World:
    """Columns by item row I and user row U; T topics of S subtopics each, L styles. Items are sorted by age."""

    config: WorldConfig
    topic_names: tuple[str, ...]
    author_names: tuple[str, ...]
    title: Sequence[str]  # [I]
    item_topic: Float32  # [I, T * S], share of each subtopic, rows sum to 1
    item_style: Float32  # [I, L]
    author: Int32  # [I]
    quality: Float32  # [I]
    duration: Float32  # [I], seconds
    published_at: Int64  # [I], ascending
    item_like: Float32  # [I], log odds of a like beyond what the utility says
    item_share: Float32  # [I], the same of a share
    taste_before: Float32  # [U, T], 1 = the favourite topic
    taste_after: Float32  # [U, T]
    drift_at: Int64  # [U], when taste is half-way
    drift_span: Float32  # [U], ms, how slowly
    subtaste: Float32  # [U, T * S], mean 1 within a topic
    user_style: Float32  # [U, L]
    patience: Float32  # [U], the log of the wished duration in seconds
    activity: Float32  # [U], mean 1, heavy-tailed
    arrived_at: Int64  # [U]
    attribute: Int8  # [U, 3], codes of age group, country, device
    picked: Int16  # [U], the topic that the user named on arrival: liked, not always the best

    def taste(self, users: Int32 | Int64, at: Int64 | int) -> Float32:
        """Interest in each topic at a moment, ``[n, T]``; ``at`` is one time or ``[n]``."""
        gone = (np.asarray(at) - self.drift_at[users]) / self.drift_span[users]
        after = _sigmoid(gone.astype(np.float32))[:, None]
        return (1 - after) * self.taste_before[users] + after * self.taste_after[users]

    def utility(self, users: Int32 | Int64, items: Int32 | Int64, at: Int64 | int) -> Float32:
        """Users ``[n]``, items ``[m]`` (the same for all) or ``[n, m]``, at one time or ``[n]`` -> ``[n, m]``."""
        taste = np.repeat(self.taste(users, at), self.config.subtopics, axis=1) * self.subtaste[users]
        wanted = np.concatenate([TASTE * taste, STYLE * self.user_style[users]], axis=1)
        if items.ndim == 1:
            offered = np.concatenate([self.item_topic[items], self.item_style[items]], axis=1)
            match = wanted @ offered.T
        else:
            offered = np.concatenate([self.item_topic[items], self.item_style[items]], axis=2)
            match = np.matmul(offered, wanted[:, :, None])[:, :, 0]
        stretch = np.log(self.duration[items]) - self.patience[users][:, None]
        match += self._item_part(items, at) - DURATION * stretch * stretch
        return match

    def _item_part(self, items: Int32 | Int64, at: Int64 | int) -> Float32:
        age = (np.atleast_1d(at)[:, None] - self.published_at[items]) / DAY_MS
        fresh = np.exp(-np.maximum(age, 0) / FRESHNESS_DAYS).astype(np.float32)
        return np.float32(INTERCEPT) + self.quality[items] + np.float32(FRESHNESS) * fresh

    def p_click(self, utility: Float32) -> Float32:
        """Probability of a click on an item that is examined, as the top of a slate always is."""
        return _sigmoid(utility)

    def watch_share(self, utility: Float32, items: Int32 | Int64) -> Float32:
        """Mean share of the duration that is watched after a click."""
        return _sigmoid(0.2 + 0.45 * utility - 0.4 * np.log(self.duration[items] / TYPICAL_SECONDS))

    def expected_watch(self, utility: Float32, items: Int32 | Int64) -> Float32:
        """Mean seconds watched after a click."""
        return self.duration[items] * self.watch_share(utility, items)

    def p_like(self, utility: Float32, items: Int32 | Int64) -> Float32:
        """Probability of a like after a click."""
        return _sigmoid(-1.9 + 0.7 * utility + self.item_like[items])

    def p_share(self, utility: Float32, items: Int32 | Int64) -> Float32:
        """Probability of a share after a click."""
        return _sigmoid(-3.2 + 0.6 * utility + self.item_share[items])

    def value(self, utility: Float32, items: Int32 | Int64) -> Float32:
        """The true value of showing an item at the top: expected actions by ``VALUE_WEIGHTS``."""
        weight = VALUE_WEIGHTS
        after_click = (
            weight["click"]
            + weight["like"] * self.p_like(utility, items)
            + weight["share"] * self.p_share(utility, items)
            + weight["watch"] * self.expected_watch(utility, items)
        )
        return self.p_click(utility) * after_click


ARRAYS = tuple(field.name for field in fields(World))[4:]


def _sigmoid(x: Float32) -> Float32:
    return (1 / (1 + np.exp(-np.clip(x, -80, 80)))).astype(np.float32, copy=False)


def examination(config: WorldConfig) -> Float64:
    """The chance that each position of a slate is looked at, ``[slate_size]``; 1 at the top."""
    return np.asarray((1.0 + np.arange(config.slate_size)) ** -config.position_bias)
