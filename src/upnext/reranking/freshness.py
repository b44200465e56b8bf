"""Extra value for what was published lately: people prefer it, and models trained on the past do not know it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upnext.reranking.lookup import gather
from upnext.types import Candidates, Catalogue, Float32, Requests

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
        if self.share == 0:
            return np.zeros(len(candidates), np.float32)
        published = gather(self.catalogue().published_at, candidates.item, 0)
        age = np.maximum(requests.now[candidates.request] - published, 0) / DAY_MS
        return np.where(published > 0, self.share * np.exp2(-age / self.half_life_days), 0.0).astype(np.float32)
