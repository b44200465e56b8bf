"""Fits the ALS item factors with the `implicit` library; users are folded in at request time, so theirs are dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from implicit.als import AlternatingLeastSquares
from scipy import sparse
from threadpoolctl import threadpool_limits

from upnext.candidates.als import ALSFactors
from upnext.candidates.index import ItemIndex
from upnext.config import ALSConfig
from upnext.training.interactions import Interactions
from upnext.training.progress import Progress

# Factors lie in no clusters: cells find two thirds of the best 300, so that all are scored while that is quick.
SCORED_BELOW = 200_000


def fit_als(
    interactions: Interactions,
    config: ALSConfig,
    seed: int,
    threads: int,
    progress: Progress,
    start: ALSFactors | None = None,
) -> ALSFactors:
    """Factors of the items that somebody acted on. ``threads`` 0 = all cores; ``start`` are factors to go on from."""
    codes, row = np.unique(interactions.item, return_inverse=True)
    matrix = confidence(replace(interactions, item=row.astype(np.int32), items=len(codes)), config.alpha)
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
            shape = (len(codes), config.embedding_size)
            model.item_factors = np.random.default_rng(seed).random(shape, np.float32) * np.float32(0.01)
            _, mine, theirs = np.intersect1d(codes, start.codes, assume_unique=True, return_indices=True)
            model.item_factors[mine] = start.item[theirs]
            model.user_factors = np.zeros((interactions.users, config.embedding_size), np.float32)
        model.fit(matrix, show_progress=False, callback=lambda epoch, seconds, loss: step(1, f"loss {loss:.4f}"))
    factors = np.asarray(model.item_factors, np.float32)
    index = ItemIndex.build(codes, factors) if len(factors) >= SCORED_BELOW else None
    return ALSFactors(factors, codes, config.regularization, config.alpha, index)


def confidence(interactions: Interactions, alpha: float) -> Any:
    """The sparse ``[users, items]`` matrix of 1 + alpha * summed event weight, as in Hu et al. 2008."""
    shape = (interactions.users, interactions.items)
    matrix = sparse.csr_matrix((interactions.weight, (interactions.user, interactions.item)), shape=shape)
    matrix.sum_duplicates()
    matrix.data = (1 + alpha * matrix.data).astype(np.float32)
    return matrix
