"""Exponentially decayed counts by forward decay: an event adds 2^(age of the log / half-life), reading divides it out.

So updating is one addition that never touches what is already there, and the same additions in the same order give
the same bits online and in replay. Source: Cormode, Shkapenyuk, Srivastava, Xu, "Forward decay", ICDE 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upnext.compiled import compiled
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
        self._epoch = _EPOCH * self._half_life
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

    def _place(self, entity: Int32 | Int64) -> None:
        """Give a row to every entity that has none."""
        self.grow(int(entity.max()) + 1)
        fresh = np.empty(len(entity), np.int32)
        used = _place(self._row, entity, self._used, fresh)
        if used > self._used:
            self._sum, self._entity = grown(self._sum, used), grown(self._entity, used)
            self._entity[self._used : used] = fresh[: used - self._used]
            self._used = used

    def add(self, entity: Int32 | Int64, column: Int64, amount: Float64, at: Int64) -> None:
        """Count ``amount[n]`` for ``entity[n]`` in ``column[n]`` at time ``at[n]``; negative entities are skipped."""
        if not len(entity):
            return
        self._place(entity)
        if np.all(np.floor(at.max() / self._epoch) * self._epoch <= self._landmark):  # nearly always
            self._add(entity, column, amount, at, 0, len(self._half_life))
            return
        for h, epoch in enumerate(self._epoch):
            mark = np.maximum.accumulate(np.maximum(np.floor(at / epoch) * epoch, self._landmark[h]))
            for landmark in np.unique(mark):
                self._move_landmark(h, float(landmark))
                now = mark == landmark
                self._add(entity[now], column[now], amount[now], at[now], h, h + 1)

    def _add(self, entity: Int32 | Int64, column: Int64, amount: Float64, at: Int64, first: int, last: int) -> None:
        """For half-lives first .. last-1, whose landmarks are up to date."""
        marks, half_life = self._landmark, self._half_life
        _add(self._sum, self._row, entity, column, amount, at, marks, half_life, first, last)

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


@compiled(
    "int64(int32[::1], int32[::1], int64, int32[::1])",
    "int64(int32[::1], int64[::1], int64, int32[::1])",
)
def _place(place: Int32, entity: Int32 | Int64, used: int, fresh: Int32) -> int:
    """Rows from ``used`` on for entities without one, which are listed in ``fresh``; how many rows are used now."""
    first = used
    for of in entity:
        if of >= 0 and place[of] == 0:
            fresh[used - first] = of
            used += 1
            place[of] = used
    return used


_ADD = (
    "void(float64[:, :, ::1], int32[::1], {}[::1], int64[::1], float64[::1], int64[::1], float64[::1], float64[::1], "
    "int64, int64)"
)


@compiled(_ADD.format("int32"), _ADD.format("int64"))
def _add(
    sums: Float64, place: Int32, entity: Int32 | Int64, column: Int64, amount: Float64, at: Int64,
    landmark: Float64, half_life: Float64, first: int, last: int,
) -> None:  # fmt: skip
    """Row by row in order, so that the sums have the same bits whether rows come together or one by one."""
    weight, of = np.empty(len(half_life)), np.int64(-1)
    for n in range(len(entity)):
        if entity[n] < 0:
            continue
        if at[n] != of:  # events that came in one call have one time
            of = at[n]
            for h in range(first, last):
                weight[h] = np.exp2((of - landmark[h]) / half_life[h])
        row = place[entity[n]] - 1
        for h in range(first, last):
            sums[row, h, column[n]] += amount[n] * weight[h]
