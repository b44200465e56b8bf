"""Extra value for what was published lately: people prefer it, and models trained on the past do not know it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upnext.compiled import compiled
from upnext.reranking.lookup import gather
from upnext.types import Candidates, Catalogue, Float32, Int64, Requests

DAY_MS = 86_400_000


@dataclass(slots=True)
class FreshnessBoost:
    """A Boost: ``share`` at publication, half of it after each half-life; 0 where the time is unknown.

    A time of publication that is still to come counts as now.
    """

    catalogue: Callable[[], Catalogue]
    share: float  # of extra value at age 0
    half_life_days: float
    name: str = "freshness"

    def __call__(self, requests: Requests, candidates: Candidates) -> Float32:
        boost = np.zeros(len(candidates), np.float32)
        if self.share != 0:
            published = gather(self.catalogue().published_at, candidates.item, 0)
            half_life = self.half_life_days * DAY_MS
            _freshen(published, candidates.offsets, requests.now, float(self.share), half_life, boost)
        return boost


@compiled("void(int64[:], int64[::1], int64[:], float64, float64, float32[::1])")
def _freshen(published: Int64, offsets: Int64, now: Int64, share: float, half_life: float, boost: Float32) -> None:
    """``boost [N]`` of rows that were published at ``published [N]``, ``now [B]``; unknown times (0) are left alone."""
    for request in range(len(offsets) - 1):
        for row in range(offsets[request], offsets[request + 1]):
            if published[row] > 0:
                boost[row] = share * 2.0 ** (-max(now[request] - published[row], 0) / half_life)
