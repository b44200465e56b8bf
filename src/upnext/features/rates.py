"""Counters as features: log counts, and a rate a task that is smoothed towards the overall rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upnext.compiled import compiled
from upnext.features.counters import Counters
from upnext.features.roles import BASE_COLUMNS, EXPOSED, IMPRESSION
from upnext.types import Float32, Float64, Int32, Int64

PRIOR_IMPRESSIONS = 20.0


def rate_names(tasks: Sequence[str]) -> tuple[str, ...]:
    """The columns of one half-life, in the order of ``rates``."""
    return (
        *(f"log_{name}" for name in BASE_COLUMNS),
        *(f"{task}_rate" for task in tasks),
        *(f"{task}_exposed_rate" for task in tasks),
    )


def rates(counters: Counters, code: Int32, request: Int64, now: Int64, overall: Float32) -> Float32:
    """Log counts, and rates a task smoothed towards the overall rate, ``[N, H * columns]``.

    Of entity ``code[n]`` (-1 = unknown) at ``now[request[n]]``; ``overall`` is ``[B, H, C]``, counts of all entities.
    Seconds tasks give mean seconds (log1p). Exposed rates divide by impressions plus "seen" events.
    """
    columns = len(BASE_COLUMNS) + 2 * (overall.shape[2] - len(BASE_COLUMNS))
    found = np.empty((len(code), overall.shape[1] * columns), np.float32)
    _one_more(counters.sums, counters.places, counters.decay(now), code, request, overall, found)
    # log(1 + x), not log1p: the former is vectorised in float32, and counts need no precision near 0.
    return np.log(found, out=found)


_BASE = len(BASE_COLUMNS)
_PRIOR = np.float32(PRIOR_IMPRESSIONS)
_ONE, _NOTHING = np.float32(1), np.float32(0)


@compiled(
    "void(float64[:, :, ::1], int32[::1], float64[:, :], int32[:], int64[:], float32[:, :, ::1], float32[:, ::1])"
)
def _one_more(
    sums: Float64, places: Int32, decay: Float64, code: Int32, request: Int64, overall: Float32, out: Float32
) -> None:
    """Fill ``out [N, H * columns]`` with 1 + what ``rates`` takes the logarithm of: an entity is read once."""
    lives, tasks = sums.shape[1], sums.shape[2] - _BASE
    prior = np.empty((len(decay), lives, 2, tasks), np.float32)  # the overall rates, in _PRIOR impressions
    for b in range(len(decay)):
        for life in range(lives):
            for place, column in enumerate((IMPRESSION, EXPOSED)):
                scale = _PRIOR / (overall[b, life, column] + np.float32(10))
                for task in range(tasks):
                    prior[b, life, place, task] = (overall[b, life, _BASE + task] + np.float32(0.1)) * scale
    never = np.zeros(sums.shape[2])
    counts = np.empty(sums.shape[2], np.float32)
    for n in range(len(code)):
        row, b, at = places[code[n]] - 1 if 0 <= code[n] < len(places) else -1, request[n], 0
        for life in range(lives):
            raw = sums[row, life] if row >= 0 else never
            for column in range(len(raw)):
                counts[column] = raw[column] * decay[b, life]
            for column in range(_BASE):
                out[n, at + column] = _ONE + max(counts[column], _NOTHING)
            at += _BASE
            for place, column in enumerate((IMPRESSION, EXPOSED)):
                share = _ONE / (counts[column] + _PRIOR)
                for task in range(tasks):
                    rate = (counts[_BASE + task] + prior[b, life, place, task]) * share
                    out[n, at + task] = _ONE + max(rate, _NOTHING)
                at += tasks
