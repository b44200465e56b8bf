"""Extra value for what was published lately: people prefer it, and models trained on the past do not know it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upnext.reranking.lookup import gather
from upnext.types import Candidates, Catalogue, Column, Float32, Int64, Requests

DAY_MS = 86_400_000


@dataclass(slots=True)
class FreshnessBoost:
    """Column ``value`` -> the utility that the slate is ordered by, ``[N]``."""

    catalogue: Callable[[], Catalogue]
    share: float  # of extra value at age 0
    half_life_days: float

    def __call__(self, requests: Requests, candidates: Candidates) -> Float32:
        value = candidates["value"]
        if self.share == 0:
            return value.astype(np.float32)
        published = gather(self.catalogue().published_at, candidates.item, 0)
        now = requests.now[candidates.request]
        return freshness_boost(value, published, now, self.share, self.half_life_days)


def freshness_boost(value: Column, published_at: Int64, now: Int64, share: float, half_life_days: float) -> Float32:
    """``value + |value| * share * 2^(-age / half-life)``, so that a negative value rises too.

    An unknown time of publication (0) earns nothing; one that is still to come counts as now.
    """
    age = np.maximum(now - published_at, 0) / DAY_MS
    boost = np.where(published_at > 0, share * np.exp2(-age / half_life_days), 0.0)
    return np.asarray(value + np.abs(value) * boost, np.float32)
