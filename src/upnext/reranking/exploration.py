"""Slots for new items that are owed impressions, drawn by chance: the promise of ``features/promises.py``, kept.

Optimism in the face of uncertainty, and the urgency of the claim, choose who may be drawn; the draw keeps every
one's chance known, so that logged answers can be re-weighted later (inverse propensity).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from upnext.config import ExplorationConfig
from upnext.types import Candidates, Column, Float32, Float64, Int32, Int64, Order, Requests

WIDEST = 5.0  # no one's chance is less than exp(-5) of the best's: logged chances stay usable as weights
TEN = 10  # positions that are looked at as one page
RUSH = 2.0  # times its share of the budget that one slate may take: owed items wait for those whom they fit
TEMPERATURE = 0.15  # standard deviations of utility by which the best must lead to be drawn e times as often


def nothing_owed(items: Int32, now: Int64) -> Float64:
    return np.full(len(items), np.nan)


def always() -> bool:
    return True


def not_accounted(explored: int, loss: float, utility: float, now: int) -> None:
    pass


@dataclass(slots=True)
class Exploration:
    """Takes rows in slate order (column ``utility``) and puts drawn ones among the first k; all rows stay.

    ``impressions(items)`` says how often each was shown, ``urgency(items, now)`` how pressing its claim is (standard
    deviations of utility; NaN = owed nothing), ``affordable()`` whether the budget has something left, and
    ``spent(slots, loss, utility, now)`` hears what was drawn.

    A slot is explored where an owed item, with its uncertainty and urgency added, is worth the row that it
    displaces. ``requests.explore`` is another rule: that share of positions, from all items that few people have
    seen, whatever they cost (0 = nothing is explored).

    A row's propensity is the chance of that row at that position *given the rows above it*: 1 where nothing is
    drawn, so explored rows are those below 1; the product over a slate is the chance of the whole slate. Draws
    follow from (seed, user, time) and the state of the claims: a batch draws what its requests would one by one.
    """

    config: ExplorationConfig
    impressions: Callable[[Int32], Float32]
    seed: int
    urgency: Callable[[Int32, Int64], Float64] = nothing_owed
    affordable: Callable[[], bool] = always
    spent: Callable[[int, float, float, int], None] = not_accounted
    name: str = "exploration"

    def __call__(self, requests: Requests, candidates: Candidates) -> Order:
        rows = np.arange(len(candidates))
        propensity = np.ones(len(candidates), np.float32)
        by_claim = requests.explore is None
        share = self.config.budget if requests.explore is None else requests.explore
        if share <= 0 or self.config.max_impressions <= 0 or len(candidates) == 0:
            return Order(rows, candidates.offsets, propensity)
        slots = slot_positions(requests.k, RUSH * share, 1) if by_claim else slot_positions(requests.k, share)
        utility, urgency = candidates["utility"], self._urgency(requests, candidates, by_claim)
        spent, drawn = np.zeros(2), 0
        for request, (start, end) in enumerate(pairwise(candidates.offsets.tolist())):
            one = slice(start, end)
            if end - start > requests.k:  # otherwise the slate shows every row anyway
                pool, worth, size = self._pool(requests, candidates.item[one], utility[one], urgency[one], len(slots))
                if size and len(pool):
                    taken, chance = draw(logits(worth), size, self._rng(requests, request))
                    at = slots if len(taken) == len(slots) else slot_positions(requests.k, len(taken) / requests.k)
                    order, propensity[one] = placed(end - start, at, pool[taken], chance)
                    rows[one], drawn = start + order, drawn + len(taken)
                spent += price(utility[one], rows[one] - start, requests.k)
        self.spent(drawn, float(spent[0]), float(spent[1]), int(requests.now.max()))
        return Order(rows, candidates.offsets, propensity)

    def _urgency(self, requests: Requests, candidates: Candidates, by_claim: bool) -> Float64:
        """Of every row, ``[N]``; NaN = not to be drawn."""
        if not by_claim:
            few = self.impressions(candidates.item) < self.config.max_impressions
            return np.where(few, 0.0, np.nan)
        if not self.affordable():
            return np.full(len(candidates), np.nan)
        return self.urgency(candidates.item, requests.now[candidates.request])

    def _pool(
        self, requests: Requests, item: Int32, utility: Column, urgency: Float64, slots: int
    ) -> tuple[Int64, Float64, int]:
        """The rows of one request that may be drawn, best first, what they are worth, and how many are drawn."""
        kept = requests.k - slots  # these are shown as they are, and need no slot
        eligible = kept + np.flatnonzero(np.isfinite(urgency[kept:]) & np.isfinite(utility[kept:]))
        worth = optimistic(utility, self.impressions(item[eligible]), urgency[eligible], eligible)
        best = np.argsort(-worth, kind="stable")[: max(self.config.pool, slots)]
        eligible, worth = eligible[best], worth[best]
        if requests.explore is not None:
            return eligible, worth, slots
        # The best must be worth the last row of the slate, the second the one before it, and so on.
        room = standardised(utility, requests.k - 1 - np.arange(slots))
        paying = int(np.argmin(np.append(worth[:slots] >= room[: len(worth)], False)))
        enough = worth >= room[0] if slots else np.zeros(len(worth), np.bool_)
        return eligible[enough], worth[enough], paying

    def _rng(self, requests: Requests, request: int) -> np.random.Generator:
        """The dice of one request: they follow from seed, user and time alone."""
        key = self.seed, int(requests.user[request]) + 1, abs(int(requests.now[request]))
        return np.random.default_rng(key)


def slot_positions(k: int, share: float, least: int = 0) -> Int64:
    """``share * k`` positions (to the nearest whole number), in the middle of each ten of the slate, or just below it.

    There an item is looked at about as often as one anywhere. At the end of the slate it would cost a little less,
    and its counters would say that nobody wants it.
    """
    slots = min(k, max(least, int(share * k + 0.5)))
    tens = max(1, min(slots, k // TEN))
    part = np.arange(k) * tens // k
    begin, end = np.searchsorted(part, part), np.searchsorted(part, part, side="right")
    from_middle = np.abs(np.arange(k) - (begin + end) // 2)
    return np.sort(np.lexsort((-np.arange(k), from_middle))[:slots]).astype(np.int64)


def standardised(utility: Column, rows: Int64) -> Float64:
    """Utilities of ``rows`` in standard deviations from the mean of the request's rows; 0 where all are alike."""
    known = utility[np.isfinite(utility)].astype(np.float64)
    spread = float(known.std()) if len(known) else 0.0
    found = utility[rows].astype(np.float64)
    return np.asarray((found - known.mean()) / spread if spread > 0 else np.zeros(len(rows)), np.float64)


def optimistic(utility: Column, shown: Float32, urgency: Float64, eligible: Int64) -> Float64:
    """What each eligible row is worth: utility plus uncertainty plus urgency, in standard deviations of utility.

    The uncertainty shrinks as ``1 / sqrt(1 + impressions)``.
    """
    doubt = 1.0 / np.sqrt(1.0 + np.maximum(shown, 0.0), dtype=np.float64)
    return np.asarray(standardised(utility, eligible) + doubt + urgency, np.float64)


def logits(worth: Float64) -> Float64:
    """The draw's log weights; the best comes first."""
    logit = worth / TEMPERATURE
    return np.maximum(logit, logit[0] - WIDEST)


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


def price(utility: Column, order: Int64, k: int) -> Float64:
    """(utility lost, utility without): what the first k are worth less by in ``order``, 0 at least.

    A drawn row can be worth more than the one it displaced, which was there for diversity: that is counted as 0.
    """
    worth = np.where(np.isfinite(utility), utility, 0).astype(np.float64)
    before, after = float(worth[:k].sum()), float(worth[order[:k]].sum())
    return np.array([max(before - after, 0.0), max(before, 0.0)])
