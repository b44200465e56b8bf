"""Putting each request's rows in order: by utility alone, or the best of them chosen to differ."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from upnext.compiled import compiled
from upnext.reranking.similarity import Similarity
from upnext.types import Candidates, Column, Float32, Float64, Int64, Order, Requests

MAX_POOL = 1000  # similarities are n x n
ALL_WELL = -1
LAST = np.int32(0x7FFFFFFF)  # above every finite float's key

Choose = Callable[[Float64, Float32, int, float], Int64]
"""``choose(utility [n] in 0..1, alike [n, n], k, strength) -> [k]``: numbers of the chosen, in slate order."""


def by_utility(candidates: Candidates) -> Order:
    """All rows by falling utility (float32), equal ones as they came, those without a finite utility last.

    The bits of a float, with those of negative ones turned round, order as integers do; with the row's number below
    them no two are equal, and numpy's fast sort, which is not stable, sorts them.
    """
    utility = np.asarray(candidates["utility"], np.float32) + np.float32(0)  # -0 becomes 0: they are equal
    bits = utility.view(np.int32)
    falling = ~(bits ^ (bits >> 31 & LAST))
    falling[~np.isfinite(utility)] = LAST
    keys = (falling.astype(np.int64) << 32) + np.arange(len(falling))
    for start, end in pairwise(candidates.offsets.tolist()):
        keys[start:end].sort()
    return Order(keys & 0xFFFFFFFF, candidates.offsets, np.ones(len(keys), np.float32))


def checked(order: Order, candidates: Candidates) -> Order:
    """The order, if it puts each row of ``candidates`` at one place of its own request at most. Raises ValueError."""
    if order.offsets.shape != candidates.offsets.shape or order.propensity.shape != order.rows.shape:
        raise ValueError("the order is of another batch, or has not one propensity a row")
    offsets, given = (np.ascontiguousarray(each, np.int64) for each in (order.offsets, candidates.offsets))
    if offsets[0] != 0 or offsets[-1] != len(order.rows):
        raise ValueError(
            f"the order has {len(order.rows)} rows, but its offsets are from {offsets[0]} to {offsets[-1]}"
        )
    wrong = _misplaced(np.ascontiguousarray(order.rows, np.int64), offsets, given)
    if wrong >= 0:
        raise ValueError(f"the order repeats row {wrong}, or it is not a row of that request")
    if wrong < ALL_WELL:
        raise ValueError(f"the order holds the row {order.rows.min()}, or its offsets fall")
    return order


@compiled("int64(int64[::1], int64[::1], int64[::1])")
def _misplaced(rows: Int64, offsets: Int64, given: Int64) -> int:
    """The first row that occurs twice or belongs to another request; ALL_WELL, or less where there is no such number.

    ``rows[offsets[b]:offsets[b + 1]]`` should be distinct numbers from ``given[b]`` to below ``given[b + 1]``.
    """
    seen = np.zeros(given[-1], np.bool_)
    for request in range(len(offsets) - 1):
        if offsets[request] > offsets[request + 1]:
            return ALL_WELL - 1
        for place in range(offsets[request], offsets[request + 1]):
            row = rows[place]
            if row < 0:
                return ALL_WELL - 1
            if row < given[request] or row >= given[request + 1] or seen[row]:
                return row
            seen[row] = True
    return ALL_WELL


def diversified(
    requests: Requests, candidates: Candidates, strength: float, pool: int, similarity: Similarity, choose: Choose
) -> Order:
    """All rows: k that ``choose`` took among the ``pool`` best of their request, then the rest by utility.

    Without strength (0) the order is by utility exactly.
    """
    order, utility = by_utility(candidates), candidates["utility"]
    if strength <= 0:
        return order
    for start, end in pairwise(candidates.offsets.tolist()):
        if end == start:
            continue
        top = order.rows[start : min(end, start + min(max(pool, requests.k), MAX_POOL))]
        alike = similarity(candidates.item[top])
        taken = choose(unit_scale(utility[top]), alike, min(requests.k, len(top)), strength)
        left = np.ones(len(top), np.bool_)
        left[taken] = False
        top[:] = np.concatenate([top[taken], top[left]])
    return order


def unit_scale(utility: Column) -> Float64:
    """Utilities as 0..1 between the least and the greatest finite one, so that a strength fits every scale."""
    finite = np.isfinite(utility)
    worth = np.where(finite, utility, 0).astype(np.float64)
    if finite.any():
        low, high = worth[finite].min(), worth[finite].max()
        worth = (worth - low) / (high - low if high > low else 1.0)
    worth[~finite] = -1.0
    return worth
