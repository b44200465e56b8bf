"""What the ranker learns from, when the log has impressions: a row an impression, a label a task.

An outcome belongs to the impression with its recommendation_id and item; without one, to the user's latest
impression of that item within a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from upnext.config import TaskConfig
from upnext.features.replay import Moments, cuts
from upnext.features.roles import EventRoles
from upnext.types import Bool, Events, Float32, Int16, Int32, Int64

ATTRIBUTION_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Examples:
    """B past requests with N labelled rows; rows of request b are ``moments.offsets[b]:moments.offsets[b + 1]``."""

    moments: Moments
    surface: Int16  # [B]
    position: Int16  # [N], -1 where unknown
    labels: Mapping[str, Float32]  # task -> [N]: 0/1, or seconds up to the task's cap
    stands_for: Float32 | None = None  # [N], in lists of choices: how many candidates like itself a row stands for

    def __len__(self) -> int:
        return len(self.moments.item)

    def latest(self, rows: int) -> Examples:
        """The last requests that together have at most ``rows`` rows."""
        offsets = self.moments.offsets
        first = int(np.searchsorted(offsets, offsets[-1] - rows, side="left"))
        return self if first <= 0 else self.requests(slice(first, len(offsets) - 1))

    def requests(self, which: slice) -> Examples:
        """A run of consecutive requests."""
        moments = self.moments
        start, stop = moments.offsets[which.start], moments.offsets[which.stop]
        rows = slice(int(start), int(stop))
        return Examples(
            Moments(
                moments.user[which],
                moments.now[which],
                moments.cut[which],
                moments.item[rows],
                moments.offsets[which.start : which.stop + 1] - start,
            ),
            self.surface[which],
            self.position[rows],
            {task: label[rows] for task, label in self.labels.items()},
            None if self.stands_for is None else self.stands_for[rows],
        )


def from_impressions(
    events: Events, roles: EventRoles, tasks: Mapping[str, TaskConfig], start: int, until: int
) -> Examples:
    """Impressions received in [start, until), grouped by the slate that showed them, with their outcomes.

    ``events`` in log order, all of them: those before ``start`` are known at the moments. Outcomes are read to the
    end of ``events``, so cut the log at ``until`` to train.
    """
    mine = roles.is_impression[events.type] & (events.user >= 0) & (events.item >= 0)
    every = np.flatnonzero(mine)
    shown = events.take(every)
    labels = {name: _label(events, every, roles, task) for name, task in tasks.items()}
    window = np.flatnonzero((shown.received_at >= start) & (shown.received_at < until))
    shown = shown.take(window)
    order, offsets = _by_slate(shown)
    shown = shown.take(order)
    head = offsets[:-1]
    served = shown.as_of[head] >= 0
    now = np.where(served, shown.happened_at[head], shown.received_at[head])
    moments = Moments(shown.user[head], now, cuts(events, now, shown.as_of[head]), shown.item, offsets)
    return Examples(
        moments,
        shown.surface[head],
        shown.position,
        {name: label[window][order] for name, label in labels.items()},
    )


def _by_slate(shown: Events) -> tuple[Int64, Int64]:
    """An order of the impressions in which each slate is contiguous, slates by their first row; and offsets."""
    key = _mix(
        shown.user.astype(np.int64), np.where(shown.recommendation != 0, shown.recommendation, shown.received_at)
    )
    _, first, slate = np.unique(key, return_index=True, return_inverse=True)
    order = np.lexsort((np.arange(len(key)), first[slate]))
    start = np.flatnonzero(np.diff(first[slate][order], prepend=-1))
    return order, np.append(start, len(key)).astype(np.int64)


def _label(events: Events, impressions: Int64, roles: EventRoles, task: TaskConfig) -> Float32:
    """The label of each impression (rows ``impressions`` of the log) for one task."""
    code = roles.code(task.event)
    outcomes = np.flatnonzero((events.type == code) & (events.user >= 0))
    if task.kind == "binary" and code >= 0:
        outcomes = outcomes[~(events.value[outcomes] < roles.least[code])]
    owner = attribute(events, impressions, outcomes)
    known = owner >= 0
    label = np.zeros(len(impressions))
    if task.kind == "binary":
        label[owner[known]] = 1
    else:
        np.add.at(label, owner[known], np.nan_to_num(events.value[outcomes[known]]))
        label = np.clip(label, 0, task.cap)
    return label.astype(np.float32)


def attribute(events: Events, impressions: Int64, outcomes: Int64) -> Int64:
    """For each outcome the impression it belongs to, as an index into ``impressions``; -1 for none."""
    owner = np.full(len(outcomes), -1, np.int64)
    if not len(impressions) or not len(outcomes):
        return owner
    by_slate = _slate_key(events, impressions)
    keys, first = np.unique(by_slate, return_index=True)
    wanted = _slate_key(events, outcomes)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    hit: Bool = (keys[place] == wanted) & (events.recommendation[outcomes] != 0)
    owner[hit] = first[place[hit]]
    rest = np.flatnonzero(~hit)
    owner[rest] = _latest_of_pair(events, impressions, outcomes[rest])
    return owner


def _latest_of_pair(events: Events, impressions: Int64, outcomes: Int64) -> Int64:
    """The user's latest impression of the item before each outcome, if within ATTRIBUTION_MS."""
    pair = (events.user.astype(np.int64) << 32) | events.item.astype(np.int64)
    pairs, code = np.unique(pair[impressions], return_inverse=True)
    span = len(events) + 1
    key = code * span + impressions  # impressions are rows in log order, so this is sorted within a pair
    order = np.argsort(key)
    place = np.minimum(np.searchsorted(pairs, pair[outcomes]), len(pairs) - 1)
    before = np.searchsorted(key[order], place * span + outcomes) - 1
    owner = order[np.maximum(before, 0)]
    fits = (before >= 0) & (pairs[place] == pair[outcomes]) & (code[owner] == place)
    gap = events.received_at[outcomes] - events.received_at[impressions[owner]]
    return np.where(fits & (gap <= ATTRIBUTION_MS), owner, -1)


def _slate_key(events: Events, rows: Int64) -> Int64:
    pair = (events.user[rows].astype(np.int64) << 32) | events.item[rows].astype(np.int64)
    return _mix(pair, events.recommendation[rows])


def _mix(left: Int64, right: Int64) -> Int64:
    """A 64-bit hash of two columns (the finaliser of SplitMix64)."""
    x = left.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + right.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))).astype(np.int64)


def learnable(examples: Examples, tasks: Mapping[str, TaskConfig], least: int = 20) -> dict[str, TaskConfig]:
    """The tasks with at least ``least`` positive and ``least`` negative rows; the others cannot be learned here."""
    found: dict[str, TaskConfig] = {}
    for name, task in tasks.items():
        positive = int((examples.labels[name] > 0).sum())
        if positive >= least and (task.kind == "seconds" or len(examples) - positive >= least):
            found[name] = task
    return found


def impressions_in(events: Events, roles: EventRoles) -> Int32:
    """Rows of the log that are impressions of known users."""
    return np.flatnonzero(roles.is_impression[events.type] & (events.user >= 0)).astype(np.int32)
