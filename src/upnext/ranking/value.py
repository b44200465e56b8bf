"""What an item is worth to show: the weighted sum of its predictions, less where hardly anybody would choose it.

The weights are read anew for every batch, so they change without retraining or restarting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from upnext.compiled import compiled
from upnext.ranking.choice import COLUMN
from upnext.types import Candidates, Column, Float32, Float64, Requests


@dataclass(slots=True)
class WeightedSum:
    """``weights()`` by task, each overridden by the request's own; ``columns`` say where a task's prediction is.

    Where the ranker says how likely each row is to be chosen, relative to the likeliest, the sum is multiplied by that
    to the power of ``choice_power`` (a negative sum falls as much as a positive one).
    """

    weights: Callable[[], Mapping[str, float]]
    columns: Mapping[str, str]  # task -> column name
    choice_power: float = 0.0

    def __call__(self, requests: Requests, candidates: Candidates) -> Float32:
        weights = {**self.weights(), **(requests.value_weights or {})}
        predicted = {task: candidates[column] for task, column in self.columns.items() if column in candidates}
        value = weighted_sum(predicted, weights, len(candidates))
        if self.choice_power and COLUMN in candidates:
            value += np.abs(value) * (np.asarray(candidates[COLUMN], np.float32) ** self.choice_power - 1)
        return value


def weighted_sum(predicted: Mapping[str, Column], weights: Mapping[str, float], rows: int) -> Float32:
    """Sum of weight x prediction by task, ``[rows]``.

    A task without a weight or without a prediction adds nothing, and neither does a prediction that is not finite.
    """
    value = np.zeros(rows, np.float64)
    for task, prediction in predicted.items():
        weight = weights.get(task, 0.0)
        if weight:
            _add(np.asarray(prediction, np.float32), np.float32(weight), value)
    return value.astype(np.float32)


@compiled("void(float32[:], float32, float64[::1])")
def _add(prediction: Float32, weight: np.float32, value: Float64) -> None:
    """``value [N]`` += weight x prediction where that is finite."""
    for row in range(len(value)):
        if np.isfinite(prediction[row]):
            value[row] += weight * prediction[row]
