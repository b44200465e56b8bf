"""Platt scaling: a slope and an offset that make probabilities mean what they say."""

from __future__ import annotations

import numpy as np

from upnext.types import Float32, Float64

STEPS = 100
SMALLEST = 1e-8


def platt(logits: Float32, labels: Float32, prior: float = 1.0) -> tuple[float, float]:
    """Slope and offset of the logits that fit the labels best, regularised to (1, 0) with the strength ``prior``.

    Newton's method, each step halved until it helps: Lin, Lin, Weng, "A note on Platt's probabilistic outputs", 2007.
    """
    x = np.stack([logits.astype(np.float64), np.ones(len(logits))], axis=1)
    # Platt's targets keep a task with few positives from running to infinity.
    positive, negative = labels.sum(), len(labels) - labels.sum()
    target = np.where(labels > 0, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(weights: Float64) -> float:
        raw = x @ weights
        return float((np.logaddexp(0, raw) - target * raw).sum() + 0.5 * prior * ((weights - [1.0, 0.0]) ** 2).sum())

    weights = np.array([1.0, 0.0])
    for _ in range(STEPS):
        p = np.exp(-np.logaddexp(0, -(x @ weights)))
        gradient = x.T @ (p - target) + prior * (weights - [1.0, 0.0])
        hessian = (x * (p * (1 - p))[:, None]).T @ x + prior * np.eye(2)
        change, now = np.linalg.solve(hessian, gradient), loss(weights)
        while np.abs(change).max() > SMALLEST and loss(weights - change) > now:
            change /= 2
        weights = weights - change
        if np.abs(change).max() <= SMALLEST:
            break
    return float(weights[0]), float(weights[1])
