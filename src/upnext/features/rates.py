"""Counters as features: log counts, and a rate a task that is smoothed towards the overall rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upnext.features.roles import BASE_COLUMNS, EXPOSED, IMPRESSION
from upnext.types import Float32

PRIOR_IMPRESSIONS = 20.0


def rate_names(tasks: Sequence[str]) -> tuple[str, ...]:
    """The columns of one half-life, in the order of ``rates``."""
    return (
        *(f"log_{name}" for name in BASE_COLUMNS),
        *(f"{task}_rate" for task in tasks),
        *(f"{task}_exposed_rate" for task in tasks),
    )


def rates(counts: Float32, overall: Float32) -> Float32:
    """Log counts, and rates a task smoothed towards the overall rate: ``[n, H, C] -> [n, H * columns]``.

    Seconds tasks give mean seconds (log1p). Exposed rates divide by impressions plus "seen" events. ``overall`` is
    ``[n, H, C]``, or ``[1, H, C]`` for all.
    """
    base, tasks = len(BASE_COLUMNS), counts.shape[2] - len(BASE_COLUMNS)
    hits, all_hits = counts[:, :, base:], overall[:, :, base:]
    columns = np.empty((*counts.shape[:2], base + 2 * tasks), np.float32)
    columns[:, :, :base] = counts[:, :, :base]
    for place, column in enumerate((IMPRESSION, EXPOSED)):
        prior = (all_hits + 0.1) * (PRIOR_IMPRESSIONS / (overall[:, :, column, None] + 10.0))
        of_tasks = columns[:, :, base + place * tasks : base + (place + 1) * tasks]
        np.divide(hits + prior, counts[:, :, column, None] + PRIOR_IMPRESSIONS, out=of_tasks)
    # log(1 + x), not log1p: the former is vectorised in float32, and counts need no precision near 0.
    np.maximum(columns, 0, out=columns)
    columns += np.float32(1)
    return np.log(columns, out=columns).reshape(len(counts), columns.shape[1] * columns.shape[2])
