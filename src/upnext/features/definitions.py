"""The features: a flat list of groups, each a pure function from what is known to columns.

To add one: write a function of Inputs that returns float32, [N, n], or [B, n] where the scope says that it is the same
for all rows of a request, and add a Group with its names to the list in ``groups``. Serving, training and evaluation
all read it from there. Plain numpy will do; where it takes many small passes, a compiled loop is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

import numpy as np

from upnext.compiled import compiled
from upnext.config import FeaturesConfig
from upnext.features.past import MS_AN_HOUR, PAIR_COLUMNS, log_hours, past
from upnext.features.rates import rate_names
from upnext.features.roles import EventRoles
from upnext.features.state import Known, item_groups
from upnext.types import Catalogue, Float32, History, Int32, Int64

LATELY_MS = 1_800_000
LONGEST = 1e6  # seconds: no value, however wrong, makes a sum overflow


@dataclass(frozen=True)
class Inputs:
    """All that a feature may read: N rows of B requests; ``row[n]`` is the request of row n."""

    item: Int32
    row: Int64
    now: Int64  # [B]
    acted: History  # [B, K]
    shown: History  # [B, K]
    known: Known
    catalogue: Catalogue
    roles: EventRoles

    @cached_property
    def preference(self) -> Float32:
        """Of each event acted, ``[B, K]``, 0 for empty slots."""
        return self.roles.preference(self.acted.event, self.acted.value)

    @cached_property
    def spent(self) -> Float32:
        """The seconds (or stars) that each event acted carries, 0 where it carries none, ``[B, K]``."""
        return np.fmin(np.fmax(self.acted.value, np.float32(0)), np.float32(LONGEST))

    def groups_of(self, items: Int32) -> tuple[Int32, ...]:
        """The group of each item in every one of PAIR_SCOPES, -1 for none, in the shape of ``items``."""
        return (items, *(group.reshape(items.shape) for group in item_groups(self.catalogue, items.ravel())))


@dataclass(frozen=True, slots=True)
class Group:
    """Feature columns that are computed together."""

    names: tuple[str, ...]
    scope: str  # item, user, user_item or context
    function: Callable[[Inputs], Float32]
    default: float = 0.0

    @property
    def of_request(self) -> bool:
        """Whether the columns are the same for all rows of a request: the function then gives ``[B, n]``."""
        return self.scope in ("user", "context")


def groups(config: FeaturesConfig, roles: EventRoles) -> tuple[Group, ...]:
    """Every feature of the project, in matrix order: first those of the request, which rankers read once."""
    lives = [f"{days:g}d" for days in config.half_lives_days]
    tasks = list(roles.tasks)

    def counted(scope: str) -> tuple[str, ...]:
        return tuple(f"{scope}_{column}_{life}" for life in lives for column in rate_names(tasks))

    return (
        Group(counted("user"), "user", lambda inputs: inputs.known.user),
        Group(USER_ACTIVITY, "user", user_activity),
        Group(CONTEXT, "context", context),
        Group(counted("item"), "item", lambda inputs: inputs.known.item),
        Group(counted("author"), "item", lambda inputs: inputs.known.author),
        Group(counted("category"), "item", lambda inputs: inputs.known.category),
        Group(
            tuple(f"same_{scope}_{column}" for scope in PAIR_SCOPES for column in PAIR_COLUMNS),
            "user_item",
            pair_history,
        ),
        Group(ITEM_FACTS, "item", item_facts),
        Group(("duration_against_liked",), "user_item", duration_against_liked),
    )


def feature_names(config: FeaturesConfig, roles: EventRoles) -> tuple[str, ...]:
    return tuple(name for group in groups(config, roles) for name in group.names)


def request_features(definitions: Sequence[Group]) -> int:
    """How many columns, from the first, are the same for all rows of a request."""
    return sum(len(group.names) for group in takewhile(lambda group: group.of_request, definitions))


def compute(inputs: Inputs, definitions: Sequence[Group]) -> Float32:
    """The feature matrix ``[N, F]``; every value finite."""
    size = len(inputs.item)
    out = np.empty((size, sum(len(group.names) for group in definitions)), np.float32)
    if not size:
        return out
    start = 0
    for group in definitions:
        end = start + len(group.names)
        columns = group.function(inputs)
        out[:, start:end] = columns[inputs.row] if group.of_request and len(inputs.now) > 1 else columns
        start = end
    if not np.isfinite(out).all():  # seldom
        np.nan_to_num(out, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return out


USER_ACTIVITY = (
    "user_log_acted", "user_log_shown", "user_hours_since_acted", "user_hours_since_shown", "user_acted_30min",
    "user_shown_30min", "user_mean_watch", "user_positive_share",
)  # fmt: skip


def user_activity(inputs: Inputs) -> Float32:
    """How much, how lately and how well: from the last-K histories, so the last click counts."""
    acted, shown = inputs.acted, inputs.shown
    columns = np.empty((len(inputs.now), len(USER_ACTIVITY)), np.float32)
    _activity(acted.item, acted.at, inputs.preference, inputs.spent, shown.item, shown.at, inputs.now, columns)
    return columns


@compiled(
    "void(int32[:, :], int64[:, :], float32[:, :], float32[:, :], int32[:, :], int64[:, :], int64[:], float32[:, ::1])"
)
def _activity(
    acted: Int32,
    acted_at: Int64,
    preference: Float32,
    spent: Float32,
    shown: Int32,
    shown_at: Int64,
    now: Int64,
    out: Float32,
) -> None:
    for b in range(len(now)):
        n_acted, n_shown, acted_lately, shown_lately, watched, liked, seconds = 0, 0, 0, 0, 0, 0, 0.0
        for k in range(acted.shape[1]):
            if acted[b, k] >= 0:
                n_acted += 1
                acted_lately += now[b] - acted_at[b, k] < LATELY_MS
                watched += spent[b, k] > 0
                liked += preference[b, k] > 0
                seconds += spent[b, k]
        for k in range(shown.shape[1]):
            if shown[b, k] >= 0:
                n_shown += 1
                shown_lately += now[b] - shown_at[b, k] < LATELY_MS
        out[b, 0] = np.log1p(n_acted)
        out[b, 1] = np.log1p(n_shown)
        out[b, 2] = log_hours(now[b] - acted_at[b, -1], n_acted > 0)
        out[b, 3] = log_hours(now[b] - shown_at[b, -1], n_shown > 0)
        out[b, 4] = np.log1p(acted_lately)
        out[b, 5] = np.log1p(shown_lately)
        out[b, 6] = np.log1p(seconds / max(watched, 1))
        out[b, 7] = liked / max(n_acted, 1)


PAIR_SCOPES = ("item", "author", "category")


def pair_history(inputs: Inputs) -> Float32:
    """This user's past with this item, its author and its category: shown, taken, watched, and how long ago."""
    acted, shown = inputs.acted, inputs.shown
    columns = np.empty((len(inputs.item), len(PAIR_SCOPES), len(PAIR_COLUMNS)), np.float32)
    of_scope = zip(*(inputs.groups_of(items) for items in (inputs.item, acted.item, shown.item)), strict=True)
    for scope, (group, group_acted, group_shown) in enumerate(of_scope):
        past(
            group, inputs.row, group_acted, inputs.preference, inputs.spent, acted.at, group_shown, shown.at,
            inputs.now, columns[:, scope],
        )  # fmt: skip
    return columns.reshape(len(columns), -1)


ITEM_FACTS = ("item_age_hours", "item_age_known", "item_log_duration", "item_duration_known")


def item_facts(inputs: Inputs) -> Float32:
    columns = np.empty((len(inputs.item), len(ITEM_FACTS)), np.float32)
    _facts(inputs.item, inputs.row, inputs.now, inputs.catalogue.published_at, inputs.catalogue.duration, columns)
    return columns


@compiled("void(int32[:], int64[:], int64[:], int64[:], float32[:], float32[:, ::1])")
def _facts(item: Int32, row: Int64, now: Int64, published_at: Int64, duration: Float32, out: Float32) -> None:
    for n in range(len(item)):
        known = 0 <= item[n] < len(duration)
        published = published_at[item[n]] if known else 0
        seconds = duration[item[n]] if known else np.float32(np.nan)
        out[n, 0] = log_hours(now[row[n]] - published, published > 0)
        out[n, 1] = published > 0
        out[n, 2] = np.log1p(seconds) if np.isfinite(seconds) else 0
        out[n, 3] = np.isfinite(seconds)


def duration_against_liked(inputs: Inputs) -> Float32:
    """Log duration minus the mean log duration of what the user liked; 0 where either is unknown."""
    columns = np.empty((len(inputs.item), 1), np.float32)
    _against_liked(
        inputs.item, inputs.row, inputs.acted.item, inputs.preference, inputs.catalogue.duration, columns[:, 0]
    )
    return columns


@compiled("void(int32[:], int64[:], int32[:, :], float32[:, :], float32[:], float32[:])")
def _against_liked(item: Int32, row: Int64, acted: Int32, preference: Float32, duration: Float32, out: Float32) -> None:
    mean = np.full(len(acted), np.nan)
    for b in range(len(acted)):
        total, liked = 0.0, 0
        for k in range(acted.shape[1]):
            if preference[b, k] > 0 and 0 <= acted[b, k] < len(duration):
                length = np.log1p(duration[acted[b, k]])
                if np.isfinite(length):
                    total += length
                    liked += 1
        if liked:
            mean[b] = total / liked
    for n in range(len(item)):
        length = np.log1p(duration[item[n]]) if 0 <= item[n] < len(duration) else np.float32(np.nan)
        out[n] = length - mean[row[n]] if np.isfinite(length) and np.isfinite(mean[row[n]]) else 0


CONTEXT = ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")


def context(inputs: Inputs) -> Float32:
    hours = inputs.now / MS_AN_HOUR
    day, week = 2 * np.pi * hours / 24, 2 * np.pi * hours / (24 * 7)
    return np.stack([np.sin(day), np.cos(day), np.sin(week), np.cos(week)], axis=1).astype(np.float32)
