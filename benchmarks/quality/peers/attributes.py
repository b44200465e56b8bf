"""Attribute-kNN: items by the cosine of their attributes (TF-IDF) to those of the decayed history.

It knows nothing of what anybody turned to, so new items are as near as old ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from benchmarks.quality.peers.knn import matrix
from benchmarks.quality.peers.method import Method, Score, Scores, Settings, described, positive
from benchmarks.quality.split import Int64, Split

DECAYS: tuple[Settings, ...] = ({"decay": 0.8}, {"decay": 1.0})


def fit(split: Split, settings: Settings, seed: int) -> Score:
    profiles = _profiles(split)

    def score(asked: Split, users: Int64) -> Scores:
        history = matrix(asked.history.take(users), len(asked.items), settings["decay"])
        return positive((history @ profiles @ profiles.T).toarray())

    return score


def _profiles(split: Split) -> Any:
    """[I, attributes] of length 1; rows of items without attributes are empty."""
    lists = split.attributes
    found = sparse.csr_matrix(
        (np.ones(len(lists.item), np.float32), (lists.row, lists.item)),
        shape=(len(lists), int(lists.item.max(initial=0)) + 1),
    )
    found.sum_duplicates()
    rarity = np.log(len(lists) / np.maximum(np.asarray((found > 0).sum(axis=0)).ravel(), 1))
    weighed = found @ sparse.diags(rarity.astype(np.float32))
    length = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
    return sparse.csr_matrix(sparse.diags(1 / np.maximum(length, 1e-9)) @ weighed, dtype=np.float32)


METHODS = (Method("attribute-kNN", fit, DECAYS, fits=described),)
