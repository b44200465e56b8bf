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
from upnext.features.rates import rate_names
from upnext.features.roles import EventRoles
from upnext.features.state import Known, item_groups
from upnext.types import Bool, Catalogue, Float32, History, Int32, Int64

MS_AN_HOUR = 3_600_000.0
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
        return tuple(f"{scope}_{column}_{life}" for life in lives for column in rate_names(tasks))

    return (
        Group(counted("item"), "item", lambda inputs: inputs.known.item),
        Group(counted("author"), "item", lambda inputs: inputs.known.author),
        Group(counted("category"), "item", lambda inputs: inputs.known.category),
        Group(counted("user"), "user", lambda inputs: inputs.of_rows(inputs.known.user)),
        Group(USER_ACTIVITY, "user", user_activity),
        Group(
            tuple(f"same_{scope}_{column}" for scope in PAIR_SCOPES for column in PAIR_COLUMNS),
            "user_item",
            pair_history,
        ),
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
    if not np.isfinite(out).all():  # seldom
        np.nan_to_num(out, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return out


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
    return np.fmin(np.fmax(history.value, np.float32(0)), np.float32(LONGEST))


PAIR_COLUMNS = ("shown", "acted", "preference", "taken", "watch", "hours_since_shown", "hours_since_acted")
PAIR_SCOPES = ("item", "author", "category")


def pair_history(inputs: Inputs) -> Float32:
    """This user's past with this item, its author and its category: shown, taken, watched, and how long ago.

    The histories are summed up by group once, then looked up for every candidate; sums run in the history's order,
    so that a batch gives the same bits as its requests alone.
    """
    acted, acted_row = _keys(inputs, inputs.acted)
    shown, shown_row = _keys(inputs, inputs.shown)
    keys, place = np.unique(np.concatenate([acted, shown]), return_inverse=True)
    columns = _summed_up(inputs, keys, (acted_row, place[: len(acted)]), (shown_row, place[len(acted) :]))
    wanted = _scoped(inputs.row, _groups_of(inputs, inputs.item))
    if not len(keys):
        return np.broadcast_to(np.tile(columns, (1, len(wanted))), (len(inputs.item), columns.size * len(wanted)))
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found[keys[found] != wanted] = len(keys)
    return columns[found.T].reshape(len(inputs.item), -1)


Placed = tuple[Int64, Int64]
"""Flat places of history events, and the sum that each belongs to."""


def _groups_of(inputs: Inputs, items: Int32) -> Int32:
    """The group of each item in every scope, -1 for none, ``[scopes, n]``."""
    return np.stack([items, *item_groups(inputs.catalogue, items)])


def _scoped(request: Int64, group: Int32) -> Int64:
    """One key a (request, scope, group), ``[scopes, n]``; -1 where there is no group."""
    scope = np.arange(len(group))[:, None]
    return np.where(group >= 0, ((request * len(group) + scope) << 32) + group, -1)


def _keys(inputs: Inputs, history: History) -> tuple[Int64, Int64]:
    """Each event's key in every scope where it has a group, and the event's flat place."""
    rows = np.flatnonzero(history.item.ravel() >= 0)
    keys = _scoped(rows // history.item.shape[1], _groups_of(inputs, history.item.ravel()[rows]))
    scope, column = np.nonzero(keys >= 0)
    return keys[scope, column], rows[column]


def _summed_up(inputs: Inputs, keys: Int64, acted: Placed, shown: Placed) -> Float32:
    """The columns of every key, ``[keys + 1, 7]``; the last row stands for "nothing"."""
    size = len(keys) + 1
    preference = inputs.roles.preference(inputs.acted.event, inputs.acted.value).ravel()[acted[0]]
    seconds = _spent(inputs.acted).ravel()[acted[0]]
    n_shown, n_acted = np.bincount(shown[1], minlength=size), np.bincount(acted[1], minlength=size)
    weight = np.bincount(acted[1], preference, size)
    now = np.append(inputs.now[(keys >> 32) // len(PAIR_SCOPES)], 0)
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
