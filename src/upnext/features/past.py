"""A user's past with a group of items, be it one item, an author or a category: for every candidate in one go."""

from __future__ import annotations

import numpy as np

from upnext.compiled import compiled
from upnext.types import Float32, Float64, Int32, Int64

MS_AN_HOUR = 3_600_000.0
NEVER_HOURS = 24.0 * 365
PAIR_COLUMNS = ("shown", "acted", "preference", "taken", "watch", "hours_since_shown", "hours_since_acted")


@compiled("float64(int64, boolean)")
def log_hours(ms: int, known: bool) -> float:
    """log1p of hours; a year where it never happened, so that long ago and never lie side by side."""
    return float(np.log1p(max(ms, 0) / MS_AN_HOUR if known else NEVER_HOURS))


@compiled("int64(int32[::1], int32)")
def _slot(key: Int32, group: int) -> int:
    """Where ``group`` is in the table, or the empty slot (-1) where it belongs; the table's size is a power of two."""
    last = len(key) - 1
    slot = int(np.int64(group) * 0x9E3779B1 >> 15) & last
    while key[slot] >= 0 and key[slot] != group:
        slot = (slot + 1) & last
    return slot


@compiled("void(int64, int64, int64[:, ::1], int64[:, ::1], float64[::1], float64[::1], float32[:, ::1])")
def _summary(
    slot: int, now: int, number: Int64, latest: Int64, weight: Float64, seconds: Float64, columns: Float32
) -> None:
    """PAIR_COLUMNS of the group in ``slot``."""
    n_shown, n_acted = number[slot, 0], number[slot, 1]
    columns[slot, 0] = np.log1p(n_shown)
    columns[slot, 1] = np.log1p(n_acted)
    columns[slot, 2] = np.sign(weight[slot]) * np.log1p(abs(weight[slot]))
    columns[slot, 3] = weight[slot] / (n_shown + 2.0)
    columns[slot, 4] = np.log1p(seconds[slot] / max(n_acted, 1))
    columns[slot, 5] = log_hours(now - latest[slot, 0], n_shown > 0)
    columns[slot, 6] = log_hours(now - latest[slot, 1], n_acted > 0)


@compiled(
    "void(int32[:], int64[:], int32[:, :], float32[:, :], float32[:, :], int64[:, :], int32[:, :], int64[:, :], "
    "int64[:], float32[:, :])"
)
def past(
    group: Int32,
    row: Int64,
    acted: Int32,
    preference: Float32,
    spent: Float32,
    acted_at: Int64,
    shown: Int32,
    shown_at: Int64,
    now: Int64,
    out: Float32,
) -> None:
    """Fill ``out [N, 7]``, PAIR_COLUMNS of ``group[n]`` in the history of request ``row[n]``.

    The groups of a history are summed up once, in a table with room for twice as many, then looked up by the rows;
    sums run in the history's order, so that a batch gives the same bits as its requests alone.
    """
    room = 8
    while room < 2 * (acted.shape[1] + shown.shape[1]):
        room *= 2
    key = np.full(room, -1, np.int32)
    number, latest = np.zeros((room + 1, 2), np.int64), np.zeros((room + 1, 2), np.int64)  # shown, acted
    weight, seconds = np.zeros(room + 1), np.zeros(room + 1)
    columns = np.empty((room + 1, out.shape[1]), np.float32)
    _summary(room, 0, number, latest, weight, seconds, columns)  # the last row stands for "nothing"
    request = -1
    for n in range(len(group)):
        if row[n] != request:
            request = row[n]
            for slot in range(room):
                if key[slot] >= 0:
                    key[slot], weight[slot], seconds[slot] = -1, 0, 0
                    number[slot, 0] = number[slot, 1] = latest[slot, 0] = latest[slot, 1] = 0
            for k in range(shown.shape[1]):
                if shown[request, k] >= 0:
                    slot = _slot(key, shown[request, k])
                    key[slot] = shown[request, k]
                    number[slot, 0] += 1
                    latest[slot, 0] = max(latest[slot, 0], shown_at[request, k])
            for k in range(acted.shape[1]):
                if acted[request, k] >= 0:
                    slot = _slot(key, acted[request, k])
                    key[slot] = acted[request, k]
                    number[slot, 1] += 1
                    latest[slot, 1] = max(latest[slot, 1], acted_at[request, k])
                    weight[slot] += preference[request, k]
                    seconds[slot] += spent[request, k]
            for slot in range(room):
                if key[slot] >= 0:
                    _summary(slot, now[request], number, latest, weight, seconds, columns)
        slot = _slot(key, group[n]) if group[n] >= 0 else 0
        found = slot if group[n] >= 0 and key[slot] == group[n] else room
        for column in range(out.shape[1]):
            out[n, column] = columns[found, column]
