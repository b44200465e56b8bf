"""Fits the linear fallback ranker on the examples of the network."""

from __future__ import annotations

import numpy as np
import torch

from upnext.ranking.linear import CLIP, Linear
from upnext.training.ranker_fit import RankerData
from upnext.types import Float32

ROWS = 200_000  # the latest; a linear layer has seen enough then
STEPS = 40


def fit_linear(data: RankerData, columns: tuple[str, ...], feature_names: tuple[str, ...], seed: int) -> Linear:
    """Logistic regression a binary task, least squares a column of seconds; L2 regularised, by L-BFGS.

    Rows that stand for several count as often.
    """
    torch.manual_seed(seed)
    features = data.features[-ROWS:]
    mean, scale = features.mean(0), (1 / np.maximum(features.std(0), 1e-3)).astype(np.float32)
    normal = torch.from_numpy(np.clip((features - mean) * scale, -CLIP, CLIP))
    labels = torch.from_numpy(np.stack([_label(data, name)[-ROWS:] for name in columns], axis=1))
    binary = torch.tensor([name.startswith("p_") for name in columns])
    every = np.ones(len(labels), np.float32) if data.stands_for is None else data.stands_for[-ROWS:]
    share = torch.from_numpy(every / every.sum())[:, None]
    weights = torch.zeros(features.shape[1] + 1, len(columns), requires_grad=True)
    spread = torch.where(binary, 1.0, labels.std(0).clamp(min=1e-3))
    optimiser = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        raw = normal @ weights[:-1] + weights[-1]
        logistic = torch.nn.functional.binary_cross_entropy_with_logits(raw, labels.clamp(0, 1), reduction="none")
        squares = (raw - labels / spread) ** 2
        loss = (torch.where(binary, logistic, squares) * share).sum() + 1e-4 * (weights[:-1] ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    fitted = (weights.detach() * spread).numpy().astype(np.float32)
    return Linear(columns, feature_names, mean.astype(np.float32), scale, fitted)


def _label(data: RankerData, column: str) -> Float32:
    """The label behind a prediction column: p_<task>, <task>_seconds or <task>_seconds_median."""
    task = column.removeprefix("p_").removesuffix("_median").removesuffix("_seconds")
    return data.labels[task]
