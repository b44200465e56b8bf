"""How likely each candidate is to be what is chosen next, beside the others: holds the value to what people turn to.

A ranker that learned from impressions knows what was shown. Of items that its log hardly ever showed to such users its
predictions are guesses, the highest of which are mostly wrong; how people chose among all candidates, shown or not,
says which of them to trust (sample selection: Ma et al., Entire space multi-task model, SIGIR 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from upnext.errors import ArtifactError
from upnext.ranking.linear import CLIP
from upnext.stages import Ranker
from upnext.types import Candidates, Column, Float32, Float64, Int32, Int64, Requests

WEIGHTS_FILE = "choice.npy"
COLUMN = "choice"
LEAST = -80.0  # a logarithm that single precision can still hold the exponential of


@dataclass(frozen=True, slots=True)
class Choice:
    """The logit of a softmax over a request's candidates: linear in standardised features."""

    feature_names: tuple[str, ...]
    mean: Float32  # [F]
    scale: Float32  # [F]
    weights: Float32  # [F]

    def __call__(self, candidates: Candidates) -> Float32:
        """How likely each row is to be chosen against the likeliest of its request: ``[N]`` in (0, 1]."""
        if candidates.features is None or candidates.feature_names != self.feature_names:
            raise ArtifactError("choices were learned on other features than are given; train again")
        logit = np.clip((candidates.features - self.mean) * self.scale, -CLIP, CLIP) @ self.weights
        if not len(logit):
            return logit
        filled = candidates.offsets[:-1][np.diff(candidates.offsets) > 0]
        sizes = np.diff(np.append(filled, len(logit)))
        behind = logit - np.repeat(np.maximum.reduceat(logit, filled), sizes)
        return np.asarray(np.exp(np.maximum(behind, LEAST)), np.float32)

    def save(self, directory: Path) -> None:
        np.save(directory / WEIGHTS_FILE, np.stack([self.mean, self.scale, self.weights]), allow_pickle=False)

    @classmethod
    def load(cls, directory: Path, feature_names: tuple[str, ...]) -> Choice | None:
        """None where the version has none. Raises ArtifactError when the file is damaged or of another shape."""
        path = directory / WEIGHTS_FILE
        if not path.exists():
            return None
        try:
            mean, scale, weights = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path}: not readable ({error}). Train again.") from error
        if weights.shape != (len(feature_names),):
            raise ArtifactError(
                f"{path}: has weights of shape {weights.shape}, not of {len(feature_names)} features. Train again."
            )
        return cls(feature_names, mean, scale, weights)


@dataclass(frozen=True, slots=True)
class WithChoice:
    """stages.Ranker: the predictions of ``ranker``, and the column ``choice`` beside them.

    Where ``urgency(items, now)`` is no NaN, an item is owed its first impressions: nobody had the chance to choose it,
    and it counts as the middle of its request at least.
    """

    ranker: Ranker
    choice: Choice
    urgency: Callable[[Int32, Int64], Float64]

    @property
    def name(self) -> str:
        return self.ranker.name

    def __call__(self, requests: Requests, candidates: Candidates) -> Mapping[str, Column]:
        likely, rows = self.choice(candidates), candidates.request
        owed = np.flatnonzero(~np.isnan(self.urgency(candidates.item, requests.now[rows])))
        if len(owed):
            parts = pairwise(candidates.offsets.tolist())
            middle = np.array([np.median(likely[a:b]) if b > a else 0.0 for a, b in parts], np.float32)
            likely[owed] = np.maximum(likely[owed], middle[rows[owed]])
        return {**self.ranker(requests, candidates), COLUMN: likely}
