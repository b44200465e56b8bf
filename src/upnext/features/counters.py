"""Exponentially decayed counts by forward decay: an event adds 2^(age of the log / half-life), reading divides it out.

So updating is one addition that never touches what is already there, and the same additions in the same order give
the same bits online and in replay. Source: Cormode, Shkapenyuk, Srivastava, Xu, "Forward decay", ICDE 2009.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from upnext.types import Float32, Float64, Int32, Int64

MS_A_DAY = 86_400_000.0
_EPOCH = 256.0  # half-lives between landmarks; float64 overflows at 1,023


class Counters:
    """R entities x H half-lives x C columns. Not thread-safe: the state that owns it locks."""

    def __init__(self, columns: int, half_lives_days: tuple[float, ...], rows: int = 0) -> None:
        self._half_life = np.asarray(half_lives_days, np.float64) * MS_A_DAY
        self._landmark = np.zeros(len(half_lives_days))  # [H], ms at which an event weighs 1
        self._sum = np.zeros((rows, len(half_lives_days), columns))

    def __len__(self) -> int:
        return len(self._sum)

    def grow(self, rows: int) -> None:
        """Make room for entities up to ``rows``; doubling keeps many small growths cheap."""
        if rows > len(self._sum):
            bigger = np.zeros((max(rows, 2 * len(self._sum)), *self._sum.shape[1:]))
            bigger[: len(self._sum)] = self._sum
            self._sum = bigger

    def add(self, row: Int32 | Int64, column: Int64, amount: Float64, at: Int64) -> None:
        """Count ``amount[n]`` for entity ``row[n]`` in ``column[n]`` at time ``at[n]``; negative rows are skipped."""
        known = row >= 0
        if not known.all():
            row, column, amount, at = row[known], column[known], amount[known], at[known]
        if not len(row):
            return
        self.grow(int(row.max()) + 1)
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

    def read(self, row: Int32 | Int64, now: Int64) -> Float32:
        """Decayed counts at time ``now[n]``: ``[N, H, C]``; zeros for unknown entities (-1 or never counted)."""
        known = (row >= 0) & (row < len(self._sum))
        found = self._sum[np.where(known, row, 0)] if len(self._sum) else np.zeros((len(row), *self._sum.shape[1:]))
        return (found * (self.decay(now) * known[:, None])[:, :, None]).astype(np.float32)

    @property
    def sums(self) -> Float64:
        """What ``decay`` multiplies, ``[R, H, C]``: not a copy, so it changes with what is added."""
        return self._sum

    def decay(self, now: Int64) -> Float64:
        """What a unit of the sums counts at each moment, ``[B, H]``."""
        return np.asarray(np.exp2((self._landmark[None, :] - now[:, None]) / self._half_life), np.float64)

    def all(self, column: int, half_life: int, now: int) -> Float32:
        """One column of every entity at time ``now``, ``[R]``."""
        decay = np.exp2((self._landmark[half_life] - now) / self._half_life[half_life])
        return (self._sum[:, half_life, column] * decay).astype(np.float32)

    def _move_landmark(self, h: int, landmark: float) -> None:
        """Landmarks are multiples of the epoch, so the sums are scaled by a power of two, which is exact."""
        steps = (landmark - self._landmark[h]) / self._half_life[h]
        if steps > 0:
            self._sum[:, h, :] = np.ldexp(self._sum[:, h, :], -int(min(steps, 2000)))
            self._landmark[h] = landmark

    def dump(self) -> dict[str, NDArray[np.float64]]:
        """All of it, as copies; ``load`` makes the same again."""
        used = int(np.flatnonzero(self._sum.any(axis=(1, 2))).max(initial=-1)) + 1
        return {"sum": self._sum[:used].copy(), "landmark": self._landmark.copy()}

    def load(self, columns: Mapping[str, NDArray[np.float64]]) -> None:
        self._sum, self._landmark = columns["sum"], columns["landmark"]
