"""How well the next item is foretold: the protocol by which sequence models are validated."""

from __future__ import annotations

import numpy as np

from upnext.training.sequences import Sequences
from upnext.types import Bool, Float32, Int64, ragged_places


def first_visits(seen: Sequences) -> Bool:
    """Whether each row is its user's first visit to that item, ``[N]``: what a list of new things can foretell."""
    first: Bool = np.zeros(len(seen), np.bool_)
    first[np.unique(seen.user.astype(np.int64) << 32 | seen.item, return_index=True)[1]] = True
    return first


def ranks(seen: Sequences, rows: Int64, scores: Float32) -> Int64:
    """Place, from 0, of the item of each row among ``scores [len(rows), I]`` of the catalogue minus the user's past.

    Ties count against it. ``scores`` is overwritten.
    """
    depth = rows - seen.start[rows]
    query = np.repeat(np.arange(len(rows)), depth)
    nth = ragged_places(depth)
    mine = scores[np.arange(len(rows)), seen.item[rows]]
    scores[query, seen.item[np.repeat(rows - depth, depth) + nth]] = -np.inf
    at_least: Int64 = np.count_nonzero(scores >= mine[:, None], axis=1).astype(np.int64)
    return at_least - (scores[np.arange(len(rows)), seen.item[rows]] >= mine)
