"""The same for everybody: what was turned to most, ever or in the last 30 days."""

from __future__ import annotations

import numpy as np

from benchmarks.quality.peers.method import Method, Score, Scores, Settings, counts, positive, timed
from benchmarks.quality.split import Int64, Split

DAYS_30 = 30 * 86_400_000


def fit_all_time(split: Split, settings: Settings, seed: int) -> Score:
    return _everybody(counts(split))


def fit_recent(split: Split, settings: Settings, seed: int) -> Score:
    late = split.fit.item[split.fit_at >= split.now - DAYS_30]
    return _everybody(np.bincount(late, minlength=len(split.items)).astype(np.float32))


def _everybody(count: Scores) -> Score:
    scores = positive(count)

    def score(split: Split, users: Int64) -> Scores:
        return np.repeat(scores[None, :], len(users), axis=0)

    return score


METHODS = (Method("popularity", fit_all_time), Method("popularity, 30 days", fit_recent, fits=timed))
