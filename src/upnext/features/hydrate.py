"""The online half: what is known at the moment of the request, as columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from upnext.config import FeaturesConfig
from upnext.features.definitions import Inputs, compute, feature_names, groups
from upnext.features.state import FeatureState
from upnext.stages import PairScorer
from upnext.types import Candidates, Catalogue, Float32, Requests


class StateFeatures:
    """Hydrator over the live state: counters of the last closed tick, histories as of this moment."""

    name = "state"

    def __init__(self, config: FeaturesConfig, state: FeatureState, catalogue: Callable[[], Catalogue]) -> None:
        self._state, self._catalogue = state, catalogue
        self._groups = groups(config, state.roles)
        self.names = feature_names(config, state.roles)
        self.defaults: Float32 = np.zeros(len(self.names), np.float32)

    def __call__(self, requests: Requests, candidates: Candidates) -> Float32:
        row = candidates.request
        known = self._state.read(candidates.item, row, requests.user, requests.now)
        return compute(
            Inputs(
                candidates.item,
                row,
                requests.now,
                requests.acted,
                requests.shown,
                known,
                self._catalogue(),
                self._state.roles,
            ),
            self._groups,
        )


@dataclass(frozen=True)
class SourceScores:
    """Hydrator that asks every source that can score any pair; the last column says that they were asked."""

    scorers: Sequence[PairScorer]
    name = "source_scores"

    @property
    def names(self) -> tuple[str, ...]:
        return (*(f"pair_{scorer.name}" for scorer in self.scorers), "pair_known")

    @property
    def defaults(self) -> Float32:
        return np.zeros(len(self.names), np.float32)

    def __call__(self, requests: Requests, candidates: Candidates) -> Float32:
        scores = np.ones((len(candidates), len(self.scorers) + 1), np.float32)
        for column, scorer in enumerate(self.scorers):
            scores[:, column] = scorer.score(requests, candidates)
        return scores
