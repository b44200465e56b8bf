"""The history as the ranker attends to it: one token for each run of events on one item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.compiled import compiled
from upnext.types import Float32, History, Int16, Int32, Int64

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

    def used(self) -> Tokens:
        """Without the slots that are empty in every request; one stays in any case."""
        empty = self.item.shape[1] - max(int(np.count_nonzero((self.item >= 0).any(axis=0))), 1)
        return Tokens(*(getattr(self, name)[:, empty:] for name in Tokens.__slots__))


def tokens(history: History, now: Int64, bit: Int32, size: int) -> Tokens:
    """Collapse a history ``[B, K]`` into ``[B, size]`` tokens; ``bit[type code]`` is the type's bit, -1 = none."""
    shape = (len(history), size)
    out = Tokens(
        np.full(shape, -1, np.int32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
    )
    _collapse(
        history.item, history.event, history.at, history.value, now, bit, out.item, out.actions, out.value, out.age
    )
    np.log1p(out.value, out=out.value)
    np.log1p(out.age, out=out.age)
    return out


@compiled(
    "void(int32[:, :], int16[:, :], int64[:, :], float32[:, :], int64[:], int32[::1], "
    "int32[:, ::1], float32[:, ::1], float32[:, ::1], float32[:, ::1])"
)
def _collapse(
    item: Int32,
    event: Int16,
    at: Int64,
    value: Float32,
    now: Int64,
    bit: Int32,
    token: Int32,
    actions: Float32,
    most: Float32,
    hours: Float32,
) -> None:
    """Fill the last four, ``[B, L]``, from the last event ``[B, K]`` backwards; they come as -1 and zeros."""
    for b in range(item.shape[0]):
        slot, happened = token.shape[1], 0
        for k in range(item.shape[1] - 1, -1, -1):
            if item[b, k] < 0:
                continue
            if slot == token.shape[1] or item[b, k] != token[b, slot]:
                if slot == 0:
                    break
                slot, happened = slot - 1, 0
                token[b, slot] = item[b, k]
                hours[b, slot] = max(now[b] - at[b, k], 0) / MS_AN_HOUR
            if event[b, k] >= 0 and bit[event[b, k]] >= 0:
                happened |= 1 << bit[event[b, k]]
                actions[b, slot] = happened
            if value[b, k] > most[b, slot]:
                most[b, slot] = value[b, k]
