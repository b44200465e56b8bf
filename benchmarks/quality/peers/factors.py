"""ALS (Hu, Koren and Volinsky, ICDM 2008) and BPR (Rendle et al., UAI 2009) of the ``implicit`` package."""

from __future__ import annotations

from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking

from benchmarks.quality.peers.knn import binary
from benchmarks.quality.peers.method import Method, Score, Scores, Settings
from benchmarks.quality.split import Int64, Split

FACTORS = 128
SETTINGS_ALS: tuple[Settings, ...] = tuple(
    {"regularization": regularization, "alpha": alpha} for regularization in (0.1, 10.0, 50.0) for alpha in (5.0, 20.0)
)
SETTINGS_BPR: tuple[Settings, ...] = tuple(
    {"learning_rate": rate, "regularization": regularization} for rate in (0.02, 0.05) for regularization in (0.01, 0.1)
)


def fit_als(split: Split, settings: Settings, seed: int) -> Score:
    """Users are folded in from their history when asked."""
    model: Any = AlternatingLeastSquares(
        factors=FACTORS,
        regularization=settings["regularization"],
        alpha=settings["alpha"],
        iterations=15,
        random_state=seed,
    )
    model.fit(binary(split.fit, len(split.items)), show_progress=False)
    items = model.item_factors

    def score(asked: Split, users: Int64) -> Scores:
        history = binary(asked.history.take(users), len(asked.items))
        return np.asarray(model.recalculate_user(np.arange(len(users)), history) @ items.T)

    return score


def fit_bpr(split: Split, settings: Settings, seed: int) -> Score:
    """Users are as they were fitted."""
    model: Any = BayesianPersonalizedRanking(
        factors=FACTORS,
        learning_rate=settings["learning_rate"],
        regularization=settings["regularization"],
        iterations=100,
        random_state=seed,
    )
    model.fit(binary(split.fit, len(split.items)), show_progress=False)
    return lambda asked, users: np.asarray(model.user_factors[users] @ model.item_factors.T)


METHODS = (
    Method("ALS (implicit)", fit_als, SETTINGS_ALS, random=True),
    Method("BPR (implicit)", fit_bpr, SETTINGS_BPR, random=True),
)
