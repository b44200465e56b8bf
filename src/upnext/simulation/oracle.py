"""The best that a recommender could do: the items of highest true value, found by looking at all of them."""

from __future__ import annotations

import numpy as np

from upnext.simulation.world import World
from upnext.types import Float32, Int32, Int64, Ragged

CELLS = 4_000_000  # user x item values held at once


def oracle_top(world: World, users: Int32, at: int, k: int, exclude: Ragged | None = None) -> Int32:
    """The k items of highest ``World.value`` for each user at one moment, best first: ``[n, k]``.

    Value: what showing the item at the top is worth, in expected actions by ``VALUE_WEIGHTS``. Only items
    published by ``at`` and not in ``exclude`` (a list of item rows a user) count; -1 where too few are left.
    """
    published = np.arange(np.searchsorted(world.published_at, at, side="right"), dtype=np.int32)
    step = max(1, CELLS // max(1, len(published)))
    parts = [
        _top(_values(world, users, published, at, exclude, slice(n, n + step)), k) for n in range(0, len(users), step)
    ]
    return np.concatenate(parts) if parts else np.empty((0, k), np.int32)


def _values(world: World, users: Int32, published: Int32, at: int, exclude: Ragged | None, chunk: slice) -> Float32:
    value = world.value(world.utility(users[chunk], published, at), published)
    if exclude is not None:
        start, stop, _ = chunk.indices(len(users))
        bounds = exclude.offsets[start : stop + 1]
        row = np.repeat(np.arange(stop - start), np.diff(bounds))
        item = exclude.item[bounds[0] : bounds[-1]]
        known = (item >= 0) & (item < len(published))
        value[row[known], item[known]] = -np.inf
    return value


def _top(value: Float32, k: int) -> Int32:
    """Column numbers of the k largest finite values of each row, ties by column: ``[n, k]``."""
    best = np.full((len(value), k), -1, np.int32)
    kept = min(k, value.shape[1])
    if kept == 0:
        return best
    found = np.sort(np.argpartition(-value, kept - 1, axis=1)[:, :kept], axis=1)
    order = np.argsort(-np.take_along_axis(value, found, axis=1), axis=1, kind="stable")
    found = np.take_along_axis(found, order, axis=1)
    best[:, :kept] = np.where(np.isfinite(np.take_along_axis(value, found, axis=1)), found, -1)
    return best


def expected_value(world: World, users: Int32, items: Int32, at: Int64 | int) -> Float32:
    """Mean true value of the slates ``[n, k]`` for each user, empty slots (-1) counting 0: ``[n]``."""
    shown = np.maximum(items, 0)
    value = world.value(world.utility(users, shown, at), shown)
    return np.asarray(np.where(items >= 0, value, 0).mean(axis=1), np.float32)
