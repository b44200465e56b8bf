"""The loss and the measure of lists with one choice: which of all candidates was it?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from upnext.types import Float32


def choice_loss(logit: Tensor, chosen: Tensor, stands_for: Tensor) -> Tensor:
    """Softmax cross-entropy of each list's choice, ``[N]`` each; a list begins with its chosen row (1).

    A sampled row counts as often as it ``stands_for``: the denominator is then, on average, that of the whole list.
    """
    request = torch.cumsum(chosen, 0).long() - 1
    shifted = logit + torch.log(stands_for)
    most = torch.full((int(request[-1]) + 1,), -torch.inf).scatter_reduce(0, request, shifted.detach(), "amax")
    total = torch.zeros(len(most)).index_add(0, request, torch.exp(shifted - most[request]))
    return (torch.log(total) + most - logit[chosen > 0]).mean()


def choice_ndcg(score: Float32, chosen: Float32, stands_for: Float32) -> float:
    """Mean of 1 / log2(1 + rank) of the chosen row in its list (which it begins); ties count half.

    Its rank is estimated: a row before it counts as often as it ``stands_for``.
    """
    first = np.flatnonzero(chosen > 0)
    own = np.repeat(score[first], np.diff(np.append(first, len(score))))
    before = stands_for * ((score > own) + 0.5 * ((score == own) & (chosen == 0)))
    rank = 1 + np.add.reduceat(before, first)
    return float((1 / np.log2(1 + rank)).mean())
