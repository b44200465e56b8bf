"""The answer of a system: the first k items for each user, and the rank that each of them is counted at.

Ties count against: among equal scores the rank is that of the last of them, over the whole catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.split import Int32, Int64, Lists

Scores = NDArray[np.floating[Any]]
USERS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Top:
    """``item [U, k]``, -1 = empty; ``rank [U, k]`` counted from 0, at least the position."""

    item: Int32
    rank: Int32

    @classmethod
    def in_order(cls, item: Int32) -> Top:
        """Lists whose order is strict."""
        return cls(item, np.broadcast_to(np.arange(item.shape[1], dtype=np.int32), item.shape))

    def save(self, path: Path) -> None:
        np.savez(path, allow_pickle=False, item=self.item, rank=self.rank)

    @classmethod
    def load(cls, path: Path) -> Top:
        with np.load(path, allow_pickle=False) as stored:
            return cls(stored["item"], stored["rank"])


def top_k(scores: Scores, k: int, exclude: Lists) -> Top:
    """The best k of ``scores [U, I]``, which is overwritten; not those in ``exclude``, nor those of -inf."""
    scores[exclude.row, exclude.item] = -np.inf
    k = min(k, scores.shape[1])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    found = np.take_along_axis(scores, best, axis=1)
    order = np.lexsort((best, -found))
    item = np.take_along_axis(best, order, axis=1).astype(np.int32)
    found = np.take_along_axis(found, order, axis=1)
    rank = np.empty(item.shape, np.int32)
    rank[:, -1] = (scores >= found[:, -1:]).sum(axis=1) - 1
    for place in range(k - 2, -1, -1):
        rank[:, place] = np.where(found[:, place] == found[:, place + 1], rank[:, place + 1], place)
    nothing = np.isneginf(found)
    return Top(np.where(nothing, np.int32(-1), item), rank)


def top_for(asked: Int64, history: Lists, k: int, score: Callable[[Int64], Scores]) -> Top:
    """``score(users [n]) -> [n, I]`` for all asked users, some at a time."""
    parts = [top_k(score(users), k, history.take(users)) for users in _some(asked)]
    return Top(np.concatenate([part.item for part in parts]), np.concatenate([part.rank for part in parts]))


def _some(users: Int64) -> Iterator[Int64]:
    for start in range(0, len(users), USERS_AT_ONCE):
        yield users[start : start + USERS_AT_ONCE]
