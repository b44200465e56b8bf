"""The history as the ranker attends to it: one token for each run of events on one item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.types import Float32, History, Int32, Int64

MS_AN_HOUR = 3_600_000.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """L tokens a request, right-aligned, -1 padded. ``actions`` is a bit set: bit t = an event of type t."""

    item: Int32  # [B, L]
    actions: Float32  # [B, L], below 2^24, so exact in float32
    value: Float32  # [B, L], log1p of the largest value (seconds, stars)
    age: Float32  # [B, L], log1p of hours since the last event of the run

    def take(self, requests: Int64) -> Tokens:
        return Tokens(self.item[requests], self.actions[requests], self.value[requests], self.age[requests])


def tokens(history: History, now: Int64, bit: Int32, size: int) -> Tokens:
    """Collapse a history ``[B, K]`` into ``[B, size]`` tokens; ``bit[type code]`` is the type's bit, -1 = none."""
    item = history.item
    first = np.asarray(item >= 0)
    first[:, 1:] &= item[:, 1:] != item[:, :-1]
    nth: Int64 = np.cumsum(first, axis=1, dtype=np.int64)
    slot = size - 1 - (nth[:, -1:] - nth)
    row, column = np.nonzero((item >= 0) & (slot >= 0))
    slot = slot[row, column]
    shape = (len(item), size)
    out = Tokens(
        np.full(shape, -1, np.int32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
    )
    out.item[row, slot] = item[row, column]
    bits = bit[history.event[row, column]]
    actions = np.zeros(shape, np.int64)
    np.bitwise_or.at(actions, (row, slot), np.where(bits >= 0, np.int64(1) << np.maximum(bits, 0), 0))
    out.actions[:] = actions
    np.maximum.at(out.value, (row, slot), np.log1p(np.fmax(history.value[row, column], 0)))
    out.age[row, slot] = np.log1p(np.maximum(now[row] - history.at[row, column], 0) / MS_AN_HOUR)
    return out
