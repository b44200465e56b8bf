"""Fits the ALS item factors with the `implicit` library; users are folded in at request time, so theirs are dropped."""

from __future__ import annotations

from typing import Any

import numpy as np
from implicit.als import AlternatingLeastSquares
from scipy import sparse
from threadpoolctl import threadpool_limits

from upnext.candidates.als import ALSFactors
from upnext.candidates.index import EXACT_BELOW, ItemIndex
from upnext.config import ALSConfig
from upnext.training.interactions import Interactions
from upnext.training.progress import Progress
from upnext.types import Float32


def fit_als(
    interactions: Interactions,
    config: ALSConfig,
    seed: int,
    threads: int,
    progress: Progress,
    start: Float32 | None = None,
) -> ALSFactors:
    """Item factors for all ``interactions.items``; zeros where nobody acted on one. ``threads`` 0 = all cores.

    ``start [items before, d]`` are factors to go on from.
    """
    matrix = confidence(interactions, config.alpha)
    # implicit parallelises over users and items itself, and warns where BLAS would do so once more.
    with threadpool_limits(1, "blas"), progress.track("ALS", config.epochs) as step:
        model = AlternatingLeastSquares(
            factors=config.embedding_size,
            regularization=config.regularization,
            alpha=1.0,  # the confidences are complete
            iterations=config.epochs,
            calculate_training_loss=True,
            num_threads=threads,
            random_state=seed,
        )
        if start is not None:
            # Small and random where there were none: a new user of new items alone would stay at zero.
            shape = (interactions.items, config.embedding_size)
            model.item_factors = np.random.default_rng(seed).random(shape, np.float32) * np.float32(0.01)
            known = np.flatnonzero(start.any(axis=1))
            model.item_factors[known] = start[known]
            model.user_factors = np.zeros((interactions.users, config.embedding_size), np.float32)
        model.fit(matrix, show_progress=False, callback=lambda epoch, seconds, loss: step(1, f"loss {loss:.4f}"))
    factors = np.asarray(model.item_factors, np.float32)
    factors[np.asarray(matrix.getnnz(axis=0)) == 0] = 0
    index = ItemIndex.build(np.arange(len(factors), dtype=np.int32), factors) if len(factors) >= EXACT_BELOW else None
    return ALSFactors(factors, config.regularization, config.alpha, index)


def confidence(interactions: Interactions, alpha: float) -> Any:
    """The sparse ``[users, items]`` matrix of 1 + alpha * summed event weight, as in Hu et al. 2008."""
    shape = (interactions.users, interactions.items)
    matrix = sparse.csr_matrix((interactions.weight, (interactions.user, interactions.item)), shape=shape)
    matrix.sum_duplicates()
    matrix.data = (1 + alpha * matrix.data).astype(np.float32)
    return matrix
