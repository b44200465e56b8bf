"""Exponentially decayed counts by forward decay: an event adds 2^(age of the log / half-life), reading divides it out.

So updating is one addition that never touches what is already there, and the same additions in the same order give
the same bits online and in replay. Source: Cormode, Shkapenyuk, Srivastava, Xu, "Forward decay", ICDE 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upnext.rows import grown
from upnext.types import Float32, Float64, Int32, Int64

MS_A_DAY = 86_400_000.0
_EPOCH = 256.0  # half-lives between landmarks; float64 overflows at 1,023


class Counters:
    """E entities x H half-lives x C columns, in a row for each entity that was ever counted: most never are.

    Not thread-safe: the state that owns it locks.
    """

    def __init__(self, columns: int, half_lives_days: tuple[float, ...], entities: int = 0) -> None:
        self._half_life = np.asarray(half_lives_days, np.float64) * MS_A_DAY
        self._landmark = np.zeros(len(half_lives_days))  # [H], ms at which an event weighs 1
        self._row: Int32 = np.zeros(entities, np.int32)  # [E], 1 + the row of an entity; 0 = it has none
        self._entity: Int32 = np.zeros(0, np.int32)  # [rows]
        self._sum = np.zeros((0, len(half_lives_days), columns))  # [rows, H, C], with room for more rows
        self._used = 0

    def __len__(self) -> int:
        return len(self._row)

    def grow(self, entities: int) -> None:
        """Know of entities up to ``entities``."""
        self._row = grown(self._row, entities)

    def rows(self, entity: Int32 | Int64) -> Int64:
        """The row of each entity, ``[N]``; -1 for one that was never counted, or is unknown (-1)."""
        known = (entity >= 0) & (entity < len(self._row))
        if not known.any():
            return np.full(len(entity), -1, np.int64)
        return np.where(known, self._row[np.where(known, entity, 0)], 0).astype(np.int64) - 1

    def _made(self, entity: Int32 | Int64) -> Int64:
        """The row of each entity, which gets one if it has none."""
        self.grow(int(entity.max()) + 1)
        fresh = np.unique(entity[self._row[entity] == 0])
        if len(fresh):
            used = self._used + len(fresh)
            self._sum, self._entity = grown(self._sum, used), grown(self._entity, used)
            self._entity[self._used : used] = fresh
            self._row[fresh] = np.arange(self._used, used) + 1
            self._used = used
        return self._row[entity].astype(np.int64) - 1

    def add(self, entity: Int32 | Int64, column: Int64, amount: Float64, at: Int64) -> None:
        """Count ``amount[n]`` for ``entity[n]`` in ``column[n]`` at time ``at[n]``; negative entities are skipped."""
        known = entity >= 0
        if not known.all():
            entity, column, amount, at = entity[known], column[known], amount[known], at[known]
        if not len(entity):
            return
        row = self._made(entity)
        for h, half_life in enumerate(self._half_life):
            epoch = _EPOCH * half_life
            if np.floor(at.max() / epoch) * epoch <= self._landmark[h]:  # nearly always
                weight = np.exp2((at - self._landmark[h]) / half_life)
                np.add.at(self._sum[:, h, :], (row, column), amount * weight)
                continue
            mark = np.maximum.accumulate(np.maximum(np.floor(at / epoch) * epoch, self._landmark[h]))
            for landmark in np.unique(mark):
                self._move_landmark(h, float(landmark))
                now = mark == landmark
                weight = np.exp2((at[now] - landmark) / half_life)
                np.add.at(self._sum[:, h, :], (row[now], column[now]), amount[now] * weight)

    def read(self, entity: Int32 | Int64, now: Int64) -> Float32:
        """Decayed counts at time ``now[n]``: ``[N, H, C]``; zeros for unknown entities (-1 or never counted)."""
        row = self.rows(entity)
        known = row >= 0
        found = self._sum[np.where(known, row, 0)] if self._used else np.zeros((len(row), *self._sum.shape[1:]))
        return (found * (self.decay(now) * known[:, None])[:, :, None]).astype(np.float32)

    @property
    def places(self) -> Int32:
        """1 + the row of each entity in ``sums``, ``[E]``; 0 = it was never counted. Not a copy."""
        return self._row

    @property
    def sums(self) -> Float64:
        """What ``decay`` multiplies, ``[rows, H, C]``: not a copy, so it changes with what is added."""
        return self._sum

    def decay(self, now: Int64) -> Float64:
        """What a unit of the sums counts at each moment, ``[B, H]``."""
        return np.asarray(np.exp2((self._landmark[None, :] - now[:, None]) / self._half_life), np.float64)

    def all(self, column: int, half_life: int, now: int) -> Float32:
        """One column of every entity at time ``now``, ``[E]``."""
        decay = np.exp2((self._landmark[half_life] - now) / self._half_life[half_life])
        found = np.zeros(len(self._row), np.float32)
        found[self._entity[: self._used]] = self._sum[: self._used, half_life, column] * decay
        return found

    def _move_landmark(self, h: int, landmark: float) -> None:
        """Landmarks are multiples of the epoch, so the sums are scaled by a power of two, which is exact."""
        steps = (landmark - self._landmark[h]) / self._half_life[h]
        if steps > 0:
            self._sum[:, h, :] = np.ldexp(self._sum[:, h, :], -int(min(steps, 2000)))
            self._landmark[h] = landmark

    def dump(self) -> dict[str, NDArray[Any]]:
        """All of it, as copies; ``load`` makes the same again."""
        order = np.argsort(self._entity[: self._used])
        return {"entity": self._entity[order], "sum": self._sum[order], "landmark": self._landmark.copy()}

    def load(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._entity, self._sum, self._landmark = columns["entity"], columns["sum"], columns["landmark"]
        self._used = len(self._entity)
        self.grow(int(self._entity.max(initial=-1)) + 1)
        self._row[self._entity] = np.arange(self._used) + 1
