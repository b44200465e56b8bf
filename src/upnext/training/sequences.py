"""What each user turned to, in order, as padded batches: the examples of a network that predicts what comes next.

Row n of the sequences is predicted from the rows before it. Equal neighbours are one visit, as when serving.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from upnext.candidates.history import run_starts
from upnext.training.interactions import Interactions
from upnext.types import Bool, Float32, Int32, Int64


@dataclass(frozen=True, slots=True)
class Sequences:
    """N visits sorted by user, then by the order received."""

    user: Int32  # [N]
    item: Int32  # [N]
    weight: Float32  # [N], summed over the visit's events
    began: Int64  # [N], time of the visit's first event: it is what a prediction knows as "now"
    ended: Int64  # [N], time of the last: it is what later predictions know
    surface: Int32  # [N], vocabulary codes
    start: Int64  # [N], the row where the user's sequence starts

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, slots=True)
class Batch:
    """B sequences of T slots, right-aligned: slot t reads ``item[t]`` and predicts ``target[t]``; -1 = none."""

    user: Int32  # [B]
    item: Int32  # [B, T]
    weight: Float32  # [B, T], 0 where there is no item
    at: Int64  # [B, T]
    target: Int32  # [B, T]
    target_weight: Float32  # [B, T]
    now: Int64  # [B, T]
    surface: Int32  # [B, T]


def sequences(interactions: Interactions, surface: Int32 | None = None) -> Sequences:
    """``surface`` are vocabulary codes, one an interaction; None = unknown."""
    order = np.argsort(interactions.user, kind="stable")
    user, item, at = interactions.user[order], interactions.item[order], interactions.at[order]
    first = run_starts(user.astype(np.int64), item)
    last = np.append(first[1:], len(user))[: len(first)] - 1
    where = np.zeros(len(first), np.int32) if surface is None else surface[order][first]
    weight = np.add.reduceat(interactions.weight[order], first) if len(first) else np.empty(0, np.float32)
    visitor = user[first]
    start = np.searchsorted(visitor, visitor).astype(np.int64)
    return Sequences(visitor, item[first], weight.astype(np.float32), at[first], at[last], where, start)


def batch_of(seen: Sequences, ends: Int64, length: int, examples: int) -> Batch:
    """The ``length`` slots that end before rows ``ends [B]`` (a row past the last target, one user each).

    Only the last ``examples`` slots of a sequence have targets.
    """
    row = ends[:, None] - length + np.arange(length)
    start = seen.start[ends - 1][:, None]
    real = row >= start
    has_item = row - 1 >= start
    target_row, item_row = np.where(real, row, 0), np.where(has_item, row - 1, 0)
    has_target: Bool = real & (np.arange(length) >= length - examples)
    return Batch(
        user=seen.user[ends - 1],
        item=np.where(has_item, seen.item[item_row], -1).astype(np.int32),
        weight=np.where(has_item, seen.weight[item_row], 0).astype(np.float32),
        at=np.where(has_item, seen.ended[item_row], 0),
        target=np.where(has_target, seen.item[target_row], -1).astype(np.int32),
        target_weight=np.where(has_target, seen.weight[target_row], 0).astype(np.float32),
        now=seen.began[target_row],
        surface=seen.surface[target_row],
    )


def user_ends(seen: Sequences, rows: Int64) -> Int64:
    """One past the last of ``rows`` of every user, for the users who have any; ``rows`` ascend."""
    user = seen.user[rows]
    return rows[np.flatnonzero(np.append(user[1:] != user[:-1], True)[: len(rows)])] + 1


def epoch(
    seen: Sequences, ends: Int64, window: int, examples: int, batch_size: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """All sequences once, in batches of about ``batch_size`` examples and of similar length, in random order."""
    have = ends - seen.start[ends - 1]
    length = np.minimum(have, examples + window)
    order = np.argsort(length * rng.uniform(0.8, 1.25, len(ends)))  # similar lengths, but never the same company
    filled = np.cumsum(np.minimum(length[order], examples))
    cuts = np.searchsorted(filled, np.arange(batch_size, filled[-1] if len(filled) else 0, batch_size))
    parts = [part for part in np.split(order, cuts) if len(part)]
    for place in rng.permutation(len(parts)).tolist():
        part = parts[place]
        yield batch_of(seen, ends[part], int(length[part].max()), examples)
