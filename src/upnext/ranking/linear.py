"""The lighter ranker: one linear layer on the same features. It answers when the network cannot, or has no time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upnext.errors import ArtifactError
from upnext.types import Candidates, Column, Float32, Requests

WEIGHTS_FILE = "linear.npy"
SCALES_FILE = "linear_scales.npy"
CLIP = 6.0


@dataclass(frozen=True, slots=True)
class Linear:
    """stages.Ranker. ``weights [F + 1, C]`` on standardised features, the last row being the bias."""

    columns: tuple[str, ...]  # p_<task> are passed through the logistic function, others are cut at 0
    feature_names: tuple[str, ...]
    mean: Float32  # [F]
    scale: Float32  # [F]
    weights: Float32
    name: str = "linear"

    def __call__(self, requests: Requests, candidates: Candidates) -> Mapping[str, Column]:
        if candidates.features is None or candidates.feature_names != self.feature_names:
            raise ArtifactError("the linear ranker was trained on other features than it is given; train again")
        normal = np.clip((candidates.features - self.mean) * self.scale, -CLIP, CLIP)
        raw = normal @ self.weights[:-1] + self.weights[-1]
        return {
            name: np.exp(-np.logaddexp(0, -raw[:, c])) if name.startswith("p_") else np.maximum(raw[:, c], 0)
            for c, name in enumerate(self.columns)
        }

    def save(self, directory: Path) -> None:
        np.save(directory / WEIGHTS_FILE, self.weights, allow_pickle=False)
        np.save(directory / SCALES_FILE, np.stack([self.mean, self.scale]), allow_pickle=False)

    @classmethod
    def load(cls, directory: Path, columns: tuple[str, ...], feature_names: tuple[str, ...]) -> Linear:
        """Raises ArtifactError when a file is missing, damaged or of another shape."""
        try:
            weights = np.load(directory / WEIGHTS_FILE, allow_pickle=False)
            mean, scale = np.load(directory / SCALES_FILE, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{directory}: no readable linear ranker ({error}). Train again.") from error
        features = len(feature_names)
        if weights.shape != (features + 1, len(columns)) or mean.shape != (features,):
            raise ArtifactError(
                f"{directory / WEIGHTS_FILE}: has shape {weights.shape}, not that of {features} features and "
                f"{len(columns)} columns. Train again."
            )
        return cls(columns, feature_names, mean, scale, weights)
