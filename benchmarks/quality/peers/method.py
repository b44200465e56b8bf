"""What a peer is: settings to choose from on validation, and a fit that returns a way to score all items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.split import Int64, Lists, Split

Settings = Mapping[str, float]
Scores = NDArray[np.floating[Any]]
Score = Callable[[Split, Int64], Scores]
"""``score(split, users [n]) -> [n, I]``, from the histories in ``split``; -inf where nothing can be said."""


@dataclass(frozen=True, slots=True)
class Method:
    """``fit(split, settings, seed)``. The first of the settings that does best on validation is taken."""

    name: str
    fit: Callable[[Split, Settings, int], Score]
    settings: tuple[Settings, ...] = ({},)
    random: bool = False
    fits: Callable[[Split], bool] = lambda split: True


def timed(split: Split) -> bool:
    return len(split.fit_at) > 0


def ordered(split: Split) -> bool:
    return split.ordered


def described(split: Split) -> bool:
    """Whether items have attributes."""
    return len(split.attributes.item) > 0


def counts(split: Split) -> NDArray[np.float32]:
    """[I] how often each item is in ``fit``."""
    return np.bincount(split.fit.item, minlength=len(split.items)).astype(np.float32)


def steps_back(lists: Lists) -> Int64:
    """For every entry how many later ones its row has."""
    return np.asarray(lists.offsets[1:][lists.row] - 1 - np.arange(len(lists.item)), np.int64)


def positive(scores: NDArray[Any]) -> Scores:
    """Nothing is said of items with a score of 0."""
    return np.where(scores > 0, scores, -np.inf).astype(np.float32)
