"""The towers' loss: a softmax over the item and negatives, in-batch and uniform, instead of the whole catalogue.

Each negative is corrected by how often it is drawn (Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019;
Yang et al., Mixed negative sampling, WWW 2020).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from upnext.training.quick_gradients import log_sum_exp
from upnext.types import Int32, Int64, ragged_places


def sampled_softmax(
    queries: Tensor,
    positives: Tensor,
    negatives: Tensor,
    expected: Tensor,
    same: tuple[Tensor, Tensor],
    temperature: float,
) -> Tensor:
    """Cross-entropy ``[M]`` of ``positives [M, d]`` against ``negatives [C, d]``.

    ``expected [C]`` is how many times each negative is drawn on average: dividing by it makes the sum an unbiased
    estimate over the catalogue. ``same`` are the places (of queries, of negatives) where a negative is the positive.
    """
    queries = queries / temperature
    positive = (queries * positives).sum(-1)
    logits = torch.addmm(-expected.log(), queries, negatives.T)
    with torch.no_grad():  # so low that nothing of it is left, nor any gradient
        logits[same] = -1e4
    return functional.softplus(log_sum_exp(logits) - positive)


def pairs(left: Int32, right: Int32) -> tuple[Int64, Int64]:
    """The places, in ``left`` and in ``right``, of all pairs of equal numbers."""
    order = np.argsort(right, kind="stable")
    first, last = (np.searchsorted(right[order], left, side) for side in ("left", "right"))
    size = last - first
    return np.repeat(np.arange(len(left)), size), order[np.repeat(first, size) + ragged_places(size)]
