"""Slots for items that few people have seen, drawn by chance, so that new items get the impressions they need.

Optimism in the face of uncertainty chooses who may be drawn; the draw keeps every one's chance known, so that logged
answers can be re-weighted later (inverse propensity).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from upnext.config import ExplorationConfig
from upnext.types import Candidates, Column, Float32, Float64, Int32, Int64, Order, Requests

WIDEST = 5.0  # no one's chance is less than exp(-5) of the best's: logged chances stay usable as weights


@dataclass(slots=True)
class Exploration:
    """Takes rows in slate order (column ``utility``) and puts drawn ones among the first k; all rows stay.

    ``impressions(items)`` says how often each item was shown. ``requests.explore`` is the share of positions that
    are explored (None = ``config.slots`` of 10, 0 = none, 1 = all).

    A row's propensity is the chance of that row at that position *given the rows above it*: 1 where nothing is
    drawn, so explored rows are those below 1; the product over a slate is the chance of the whole slate. Draws
    follow from (seed, user, time) alone: a batch draws what its requests would draw one by one.
    """

    config: ExplorationConfig
    impressions: Callable[[Int32], Float32]
    seed: int
    name: str = "exploration"

    def __call__(self, requests: Requests, candidates: Candidates) -> Order:
        rows = np.arange(len(candidates))
        propensity = np.ones(len(candidates), np.float32)
        share = self.config.slots / 10 if requests.explore is None else requests.explore
        if share <= 0 or self.config.max_impressions <= 0 or len(candidates) == 0:
            return Order(rows, candidates.offsets, propensity)
        shown, utility = self.impressions(candidates.item), candidates["utility"]
        for request, (start, end) in enumerate(pairwise(candidates.offsets.tolist())):
            one = slice(start, end)
            if end - start > requests.k:  # otherwise the slate shows every row anyway
                order, chances = self._one(requests, request, utility[one], shown[one], share)
                rows[one], propensity[one] = start + order, chances
        return Order(rows, candidates.offsets, propensity)

    def _one(
        self, requests: Requests, request: int, utility: Column, shown: Float32, share: float
    ) -> tuple[Int64, Float32]:
        slots = slot_positions(requests.k, share)
        kept = requests.k - len(slots)  # these are shown as they are, and need no slot
        few = (shown[kept:] < self.config.max_impressions) & np.isfinite(utility[kept:])
        eligible = kept + np.flatnonzero(few)
        if len(slots) == 0 or len(eligible) == 0:
            return np.arange(len(utility)), np.ones(len(utility), np.float32)
        pool, logit = optimistic(utility, shown, eligible, self.config.pool)
        key = self.seed, int(requests.user[request]) + 1, abs(int(requests.now[request]))
        drawn, chance = draw(logit, len(slots), np.random.default_rng(key))
        return placed(len(utility), slots[: len(drawn)], pool[drawn], chance)


def slot_positions(k: int, share: float) -> Int64:
    """``share * k`` positions (to the nearest whole number), each in the middle of its equal part of the slate."""
    slots = min(k, int(share * k + 0.5))
    return ((2 * np.arange(slots) + 1) * k // (2 * slots)).astype(np.int64)


def optimistic(utility: Column, shown: Float32, eligible: Int64, size: int) -> tuple[Int64, Float64]:
    """The ``size`` best eligible rows by utility plus uncertainty, and that sum in standard deviations.

    The uncertainty shrinks as ``1 / sqrt(1 + impressions)``, from the spread of the request's utilities.
    """
    known = utility[np.isfinite(utility)].astype(np.float64)
    spread = float(known.std())
    logit = 1.0 / np.sqrt(1.0 + np.maximum(shown[eligible], 0.0), dtype=np.float64)
    if spread > 0:
        logit += (utility[eligible] - known.mean()) / spread
    best = np.argsort(-logit, kind="stable")[:size]
    return eligible[best], np.maximum(logit[best], logit[best[0]] - WIDEST)


def draw(logit: Float64, size: int, rng: np.random.Generator) -> tuple[Int64, Float64]:
    """Up to ``size`` entries without replacement, softmax probabilities, and each one's chance when it was drawn.

    Sorting by logit plus Gumbel noise draws from the Plackett-Luce model (Yellott, 1977).
    """
    drawn = np.argsort(-(logit + rng.gumbel(size=len(logit))), kind="stable")
    weight = np.exp(logit - logit.max())[drawn]
    left = np.cumsum(weight[::-1])[::-1]  # what was still to be had at each draw
    return drawn[:size], (weight / left)[:size]


def placed(rows: int, positions: Int64, drawn: Int64, chance: Float64) -> tuple[Int64, Float32]:
    """All rows with the drawn ones at their positions and the others, in their order, around them."""
    order, chances = np.empty(rows, np.int64), np.ones(rows, np.float32)
    others = np.ones(rows, np.bool_)
    others[drawn] = False
    free = np.ones(rows, np.bool_)
    free[positions] = False
    order[positions], chances[positions] = drawn, chance
    order[free] = np.flatnonzero(others)
    return order, chances
