"""Fits how people choose among candidates: a softmax over each list, linear in its features."""

from __future__ import annotations

import numpy as np
import torch

from upnext.ranking.choice import Choice
from upnext.ranking.linear import CLIP
from upnext.training.choice_loss import choice_loss
from upnext.training.choices import CHOICE_TASK
from upnext.training.ranker_fit import RankerData

LISTS, FEWEST_LISTS = 6000, 100  # so many are enough for a weight a feature, and so few are too little
STEPS = 60
L2 = 1e-3


def fit_choice(data: RankerData, feature_names: tuple[str, ...]) -> Choice:
    """By L-BFGS on all lists of ``data``, each of which begins with its choice."""
    mean, scale = data.features.mean(0), (1 / np.maximum(data.features.std(0), 1e-3)).astype(np.float32)
    normal = torch.from_numpy(np.clip((data.features - mean) * scale, -CLIP, CLIP))
    chosen, stands_for = torch.from_numpy(data.labels[CHOICE_TASK]), data.stands_for
    every = torch.ones(len(chosen)) if stands_for is None else torch.from_numpy(stands_for)
    weights = torch.zeros(normal.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = choice_loss(normal @ weights, chosen, every) + L2 * (weights**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return Choice(feature_names, mean.astype(np.float32), scale, weights.detach().numpy().astype(np.float32))
