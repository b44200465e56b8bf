"""The features: a flat list of groups, each a pure function from what is known to columns.

To add one: write a function of Inputs that returns [N, n] float32, and add a Group with its names and defaults to
the list in ``groups``. Serving, training and evaluation all read it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from upnext.config import FeaturesConfig
from upnext.features.roles import BASE_COLUMNS, EXPOSED, IMPRESSION, EventRoles
from upnext.features.state import Known, item_groups
from upnext.types import Bool, Catalogue, Float32, History, Int32, Int64

MS_AN_HOUR = 3_600_000.0
PRIOR_IMPRESSIONS = 20.0
NEVER_HOURS = 24.0 * 365
LONGEST = 1e6  # seconds: no value, however wrong, makes a sum overflow

AnyColumn = TypeVar("AnyColumn", bound=NDArray[Any])


@dataclass(frozen=True, slots=True)
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

    def of_rows(self, values: AnyColumn) -> AnyColumn:
        """Per-request values for every row; for a single request a broadcastable view instead of a copy."""
        return values if len(values) == 1 else cast(AnyColumn, values[self.row])


@dataclass(frozen=True, slots=True)
class Group:
    """Feature columns that are computed together."""

    names: tuple[str, ...]
    scope: str  # item, user, user_item or context
    function: Callable[[Inputs], Float32]
    default: float = 0.0


def groups(config: FeaturesConfig, roles: EventRoles) -> tuple[Group, ...]:
    """Every feature of the project, in matrix order."""
    lives = [f"{days:g}d" for days in config.half_lives_days]
    tasks = list(roles.tasks)

    def counted(scope: str) -> tuple[str, ...]:
        columns = [
            *(f"log_{name}" for name in BASE_COLUMNS),
            *(f"{t}_rate" for t in tasks),
            *(f"{t}_exposed_rate" for t in tasks),
        ]
        return tuple(f"{scope}_{column}_{life}" for life in lives for column in columns)

    return (
        Group(counted("item"), "item", lambda inputs: item_rates(inputs.known.item, inputs)),
        Group(counted("author"), "item", lambda inputs: item_rates(inputs.known.author, inputs)),
        Group(counted("category"), "item", lambda inputs: item_rates(inputs.known.category, inputs)),
        Group(counted("user"), "user", user_rates),
        Group(USER_ACTIVITY, "user", user_activity),
        Group(_pair_names("item"), "user_item", lambda inputs: pair_history(inputs, _itself)),
        Group(_pair_names("author"), "user_item", lambda inputs: pair_history(inputs, _author)),
        Group(_pair_names("category"), "user_item", lambda inputs: pair_history(inputs, _category)),
        Group(ITEM_FACTS, "item", item_facts),
        Group(("duration_against_liked",), "user_item", duration_against_liked),
        Group(CONTEXT, "context", context),
    )


def feature_names(config: FeaturesConfig, roles: EventRoles) -> tuple[str, ...]:
    return tuple(name for group in groups(config, roles) for name in group.names)


def compute(inputs: Inputs, definitions: Sequence[Group]) -> Float32:
    """The feature matrix ``[N, F]``; every value finite."""
    size = len(inputs.item)
    out = np.empty((size, sum(len(group.names) for group in definitions)), np.float32)
    if not size:
        return out
    start = 0
    for group in definitions:
        end = start + len(group.names)
        out[:, start:end] = group.function(inputs)
        start = end
    return np.nan_to_num(out, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def item_rates(counts: Float32, inputs: Inputs) -> Float32:
    """The rates of N rows, smoothed towards the overall rates of their requests."""
    return rates(counts, inputs.of_rows(inputs.known.overall))


def user_rates(inputs: Inputs) -> Float32:
    """The rates of B users, one row a candidate."""
    return inputs.of_rows(rates(inputs.known.user, inputs.known.overall))


def rates(counts: Float32, overall: Float32) -> Float32:
    """Log counts, and rates a task smoothed towards the overall rate: ``[n, H, C] -> [n, H * columns]``.

    Seconds tasks give mean seconds (log1p). Exposed rates divide by impressions plus "seen" events.
    """
    base = len(BASE_COLUMNS)
    hits, all_hits = counts[:, :, base:], overall[:, :, base:]
    parts = [counts[:, :, :base]]
    for column in (IMPRESSION, EXPOSED):
        prior = (all_hits + 0.1) * (PRIOR_IMPRESSIONS / (overall[:, :, column, None] + 10.0))
        parts.append((hits + prior) / (counts[:, :, column, None] + PRIOR_IMPRESSIONS))
    columns = np.concatenate(parts, axis=2, dtype=np.float32)
    # log(1 + x), not log1p: the former is vectorised in float32, and counts need no precision near 0.
    return np.log(np.maximum(columns, 0, out=columns) + np.float32(1)).reshape(len(counts), -1)


USER_ACTIVITY = (
    "user_log_acted", "user_log_shown", "user_hours_since_acted", "user_hours_since_shown", "user_acted_30min",
    "user_shown_30min", "user_mean_watch", "user_positive_share",
)  # fmt: skip


def user_activity(inputs: Inputs) -> Float32:
    """How much, how lately and how well: from the last-K histories, so the last click counts."""
    acted, shown, now = inputs.acted, inputs.shown, inputs.now[:, None]
    has_acted, has_shown = acted.item >= 0, shown.item >= 0
    preference = inputs.roles.preference(acted.event, acted.value)
    watched = has_acted & (acted.value > 0)
    recent = 0.5 * MS_AN_HOUR
    columns = [
        np.log1p(has_acted.sum(1)),
        np.log1p(has_shown.sum(1)),
        _log_hours(now[:, 0] - acted.at[:, -1], has_acted[:, -1]),
        _log_hours(now[:, 0] - shown.at[:, -1], has_shown[:, -1]),
        np.log1p((has_acted & (now - acted.at < recent)).sum(1)),
        np.log1p((has_shown & (now - shown.at < recent)).sum(1)),
        np.log1p(_spent(acted).sum(1) / np.maximum(watched.sum(1), 1)),
        (preference > 0).sum(1) / np.maximum(has_acted.sum(1), 1),
    ]
    return np.asarray(inputs.of_rows(np.stack(columns, axis=1).astype(np.float32)), np.float32)


def _spent(history: History) -> Float32:
    """The seconds (or stars) that each event carries, 0 where it carries none, ``[B, K]``."""
    return np.clip(np.nan_to_num(history.value), 0, np.float32(LONGEST))


def _pair_names(scope: str) -> tuple[str, ...]:
    columns = ("shown", "acted", "preference", "taken", "watch", "hours_since_shown", "hours_since_acted")
    return tuple(f"same_{scope}_{column}" for column in columns)


GroupOf = Callable[[Inputs, Int32], Int32]


def _itself(inputs: Inputs, items: Int32) -> Int32:
    return items


def _author(inputs: Inputs, items: Int32) -> Int32:
    return item_groups(inputs.catalogue, items)[0]


def _category(inputs: Inputs, items: Int32) -> Int32:
    return item_groups(inputs.catalogue, items)[1]


def pair_history(inputs: Inputs, group_of: GroupOf) -> Float32:
    """This user's past with this item (its author, its category): shown, taken, watched, and how long ago.

    Each history is summed up by group once, then looked up for every candidate; sums run in the history's order, so
    that a batch gives the same bits as its requests alone.
    """
    acted, shown = inputs.acted, inputs.shown
    was_acted = _keys(acted, group_of(inputs, acted.item.ravel()))
    was_shown = _keys(shown, group_of(inputs, shown.item.ravel()))
    keys, place = np.unique(np.concatenate([was_acted[1], was_shown[1]]), return_inverse=True)
    columns = _summed_up(
        inputs, keys, (was_acted[0], place[: len(was_acted[0])]), (was_shown[0], place[len(was_acted[0]) :])
    )
    mine = group_of(inputs, inputs.item)
    wanted = inputs.row << 32 | mine
    found = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    known = (keys[found] == wanted) & (mine >= 0) if len(keys) else np.zeros(len(mine), np.bool_)
    return columns[np.where(known, found, len(keys))]


Placed = tuple[Int64, Int64]
"""Flat places of history events, and the sum that each belongs to."""


def _keys(history: History, group: Int32) -> tuple[Int64, Int64]:
    """The flat places of events with a group, and each one's key: request << 32 | group."""
    rows = np.flatnonzero((history.item.ravel() >= 0) & (group >= 0))
    return rows, (rows // history.item.shape[1]) << 32 | group[rows]


def _summed_up(inputs: Inputs, keys: Int64, acted: Placed, shown: Placed) -> Float32:
    """The columns of every key, ``[keys + 1, 7]``; the last row stands for "nothing"."""
    size = len(keys) + 1
    preference = inputs.roles.preference(inputs.acted.event, inputs.acted.value).ravel()[acted[0]]
    seconds = np.maximum(np.nan_to_num(inputs.acted.value.ravel()[acted[0]]), 0)
    n_shown, n_acted = np.bincount(shown[1], minlength=size), np.bincount(acted[1], minlength=size)
    weight = np.bincount(acted[1], preference, size)
    now = np.append(inputs.now[keys >> 32], 0)
    columns = [
        np.log1p(n_shown),
        np.log1p(n_acted),
        np.sign(weight) * np.log1p(np.abs(weight)),
        weight / (n_shown + 2.0),
        np.log1p(np.bincount(acted[1], seconds, size) / np.maximum(n_acted, 1)),
        _log_hours(now - _latest(inputs.shown, shown, size), n_shown > 0),
        _log_hours(now - _latest(inputs.acted, acted, size), n_acted > 0),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _latest(history: History, placed: Placed, size: int) -> Int64:
    latest = np.zeros(size, np.int64)
    np.maximum.at(latest, placed[1], history.at.ravel()[placed[0]])
    return latest


ITEM_FACTS = ("item_age_hours", "item_age_known", "item_log_duration", "item_duration_known")


def item_facts(inputs: Inputs) -> Float32:
    catalogue, (item, known) = inputs.catalogue, _in_catalogue(inputs)
    if not len(catalogue):
        return np.zeros((len(item), len(ITEM_FACTS)), np.float32)
    published, duration = catalogue.published_at[item], catalogue.duration[item]
    has_age, has_duration = known & (published > 0), known & np.isfinite(duration)
    columns = [
        _log_hours(inputs.of_rows(inputs.now) - published, has_age),
        has_age,
        np.where(has_duration, np.log1p(np.where(has_duration, duration, 0)), 0),
        has_duration,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def duration_against_liked(inputs: Inputs) -> Float32:
    """Log duration minus the mean log duration of what the user liked; 0 where either is unknown."""
    catalogue, (item, known) = inputs.catalogue, _in_catalogue(inputs)
    past = inputs.acted.item
    if not len(catalogue):
        return np.zeros((len(item), 1), np.float32)
    liked = (inputs.roles.preference(inputs.acted.event, inputs.acted.value) > 0) & (past < len(catalogue))
    length = np.log1p(catalogue.duration[np.where(liked, past, 0)])
    liked &= np.isfinite(length)
    mean = np.where(liked, length, 0).sum(1) / np.maximum(liked.sum(1), 1)
    mine = np.log1p(catalogue.duration[item])
    both = known & np.isfinite(mine) & inputs.of_rows(np.asarray(liked.any(1)))
    return np.where(both, mine - inputs.of_rows(mean), 0).astype(np.float32)[:, None]


CONTEXT = ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")


def context(inputs: Inputs) -> Float32:
    hours = inputs.now / MS_AN_HOUR
    day, week = 2 * np.pi * hours / 24, 2 * np.pi * hours / (24 * 7)
    columns = np.stack([np.sin(day), np.cos(day), np.sin(week), np.cos(week)], axis=1).astype(np.float32)
    return np.asarray(inputs.of_rows(columns), np.float32)


def _in_catalogue(inputs: Inputs) -> tuple[Int32, Bool]:
    known = (inputs.item >= 0) & (inputs.item < len(inputs.catalogue))
    return np.where(known, inputs.item, 0), known


def _log_hours(ms: Int64, known: Bool) -> Float32:
    """log1p of hours; a year where it never happened, so that long ago and never lie side by side."""
    hours = np.where(known, np.maximum(ms, 0) / MS_AN_HOUR, NEVER_HOURS)
    return np.log1p(hours).astype(np.float32)
