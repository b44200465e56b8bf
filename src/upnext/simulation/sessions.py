"""When people come: few users come often (heavy tail), in the evening more than at night, some only later on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.simulation.world import World
from upnext.types import Float64, Int32, Int64

HOUR_MS = 3_600_000
SLATES_A_SESSION = 2.0
BUSIEST_HOUR, NIGHT = 20, 0.85  # NIGHT: how much quieter the quietest hour is than an average one


@dataclass(frozen=True)
class Sessions:
    """Sittings sorted by hour: at most one a user and hour."""

    user: Int32  # [S]
    start_at: Int64  # [S]
    slates: Int64  # [S], slates looked at
    hour: Int64  # [S], hours since the begin of the drawn period

    def __len__(self) -> int:
        return len(self.user)


def draw_sessions(world: World, begin: int, end: int, slates: int, rng: np.random.Generator) -> Sessions:
    """Sittings that start in ``[begin, end)`` (Unix ms, whole days) and show ``slates`` slates in all."""
    present = (end - np.maximum(world.arrived_at, begin)) / (end - begin)
    weight = world.activity * np.maximum(present, 0)
    if slates == 0 or not weight.any():
        return Sessions(np.empty(0, np.int32), *np.empty((3, 0), np.int64))
    length = rng.geometric(1 / SLATES_A_SESSION, slates)  # surely enough sessions: each has one slate or more
    ends = np.cumsum(length)
    count = int(np.searchsorted(ends, slates)) + 1
    length = length[:count]
    length[-1] -= ends[count - 1] - slates
    user = rng.choice(len(weight), count, p=weight / weight.sum())
    return _merged(user, _starts(world.arrived_at[user], begin, end, rng), length, begin)


def intensity(hour: Float64) -> Float64:
    """How busy an hour of the day is, 1 on average."""
    return np.asarray(1 + NIGHT * np.cos((hour - BUSIEST_HOUR) * (2 * np.pi / 24)))


def _starts(arrived_at: Int64, begin: int, end: int, rng: np.random.Generator) -> Int64:
    """Moments after each arrival, by the daily rhythm: the inverse of the cumulative intensity."""
    hours = np.arange((end - begin) // HOUR_MS + 1, dtype=np.float64)
    busy = np.concatenate([[0.0], np.cumsum(intensity(hours[:-1] + 0.5))])
    passed = np.interp((arrived_at - begin) / HOUR_MS, hours, busy)
    drawn = passed + rng.random(len(arrived_at)) * (busy[-1] - passed)
    return np.asarray(begin + (np.interp(drawn, busy, hours) * HOUR_MS).astype(np.int64))


def _merged(user: Int64, start: Int64, slates: Int64, begin: int) -> Sessions:
    """Sessions of one user in one hour become one longer session, from the first start on."""
    hour = (start - begin) // HOUR_MS
    order = np.lexsort((start, user, hour))
    user, start, slates, hour = user[order], start[order], slates[order], hour[order]
    first = np.ones(len(user), bool)
    first[1:] = (user[1:] != user[:-1]) | (hour[1:] != hour[:-1])
    heads = np.flatnonzero(first)
    return Sessions(user[heads].astype(np.int32), start[heads], np.add.reduceat(slates, heads), hour[heads])
