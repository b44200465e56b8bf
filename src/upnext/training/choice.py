"""Fits how people choose among candidates: a softmax over each list, linear in its features."""

from __future__ import annotations

import numpy as np
import torch

from upnext.ranking.choice import Choice
from upnext.ranking.linear import CLIP
from upnext.training.choice_loss import choice_loss
from upnext.training.choices import CHOICE_TASK
from upnext.training.ranker_fit import RankerData
from upnext.types import Float32

LISTS, FEWEST_LISTS = 6000, 100  # so many are enough for a weight a feature, and so few are too little
STEPS = 60
L2 = 1e-3


def fit_choice(data: RankerData, feature_names: tuple[str, ...]) -> Choice:
    """By L-BFGS on all lists of ``data``, each of which begins with its choice."""
    mean, scale = data.features.mean(0), (1 / np.maximum(data.features.std(0), 1e-3)).astype(np.float32)
    normal = torch.from_numpy(np.clip((data.features - mean) * scale, -CLIP, CLIP))
    every = np.ones(len(normal), np.float32) if data.stands_for is None else data.stands_for
    weights = choice_weights(normal, data.labels[CHOICE_TASK], every)
    return Choice(feature_names, mean.astype(np.float32), scale, weights.numpy())


def choice_weights(features: torch.Tensor, chosen: Float32, stands_for: Float32) -> torch.Tensor:
    """The weights ``[F]`` of ``features [N, F]``, of mean 0 and deviation 1, that foretell the choices best."""
    is_chosen, every = torch.from_numpy(chosen), torch.from_numpy(stands_for)
    weights = torch.zeros(features.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = choice_loss(features @ weights, is_chosen, every) + L2 * (weights**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()
