"""Fits co-visitation: which items the same people turned to, and which they turned to next.

similarity(i, j) = (people with both, each 1 / m^BUSY + DIRECTED * steps from i to j) / (n_i^TILT * n_j^(1 - TILT) +
shrinkage), m = items of the person, n = people with the item. BUSY = 0, TILT = 0.5 and no steps is the cosine with
shrinkage; that one item of a busy person says little of another is the normalisation of graph filters (Shen et al.,
How powerful is graph convolution for recommendation, CIKM 2021). Steps count by how recent they are, not by how quick:
the time between the two events helped on neither or only one of two timed data sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from upnext.candidates.because_you_watched import IN_ORDER, CoVisitation, Reading
from upnext.candidates.history import run_starts
from upnext.config import BecauseYouWatchedConfig
from upnext.training.interactions import Interactions
from upnext.training.progress import Progress
from upnext.types import Float32, Float64, Int32, Int64, ragged_places

DIRECTED = 1.0
TILT = 0.7
BUSY = 0.75
HALF_LIFE_MS = 30 * 86_400_000  # of a step, in a log of up to 300 days
HALF_LIFE_SHARE = 0.1  # of the log's span, in a longer one
FLOOR = 0.1
VISITS_A_USER = 200  # the latest; the product grows with the square of it
CELLS = 1 << 23  # non-zeros of the product held at once


def fit_co_visitation(
    interactions: Interactions, config: BecauseYouWatchedConfig, progress: Progress, reading: Reading | None = None
) -> CoVisitation:
    """At most ``config.neighbours`` neighbours an item, most similar first. ``reading`` None = as configured."""
    reading = reading or configured(config)
    visits = _visits(interactions)
    items = interactions.items
    users = sparse.csr_matrix(
        (np.ones(len(visits), np.float32), (visits.user, visits.item)), shape=(interactions.users, items)
    )
    users.data[:] = 1  # scipy summed an item's repeated visits: people are counted once
    steps = _steps(visits, reading.window)
    count = np.bincount(users.indices, minlength=items).astype(np.float64)
    columns = users.T.tocsr()
    columns.data = _share(np.diff(users.indptr))[columns.indices]
    size, indices, data = np.zeros(items, np.int64), [np.empty(0, np.int32)], [np.empty(0, np.float32)]
    with progress.track("co-visitation", items) as step:
        for first, last in _chunks(columns, users):
            together = (columns[first:last] @ users + DIRECTED * steps[first:last]).tocoo()
            size[first:last], column, similarity = _neighbours(
                together, first, count, config.neighbours, reading.shrinkage
            )
            indices.append(column)
            data.append(similarity)
            step(last - first, "")
    indptr = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    return CoVisitation(indptr, np.concatenate(indices), np.concatenate(data), reading)


def configured(config: BecauseYouWatchedConfig) -> Reading:
    """As it is set, and where nothing is, as it is best for most logs."""
    decay = IN_ORDER.history_decay if config.history_decay is None else config.history_decay
    return Reading(decay, config.window, IN_ORDER.shrinkage if config.shrinkage is None else config.shrinkage)


def _share(items: Int64) -> Float32:
    """What one person with so many items says of each two of them."""
    return (np.maximum(items, 1) ** -BUSY).astype(np.float32)


def _visits(interactions: Interactions) -> Interactions:
    """By user and then in order; an item's consecutive events as one visit; only the latest visits of a user."""
    order = np.argsort(interactions.user, kind="stable")
    first = order[run_starts(interactions.user[order].astype(np.int64), interactions.item[order])]
    user = interactions.user[first]
    end = np.searchsorted(user, user, side="right")
    rows = first[end - np.arange(len(user)) <= VISITS_A_USER]
    return Interactions(
        interactions.user[rows],
        interactions.item[rows],
        interactions.weight[rows],
        interactions.at[rows],
        interactions.users,
        interactions.items,
    )


def _steps(visits: Interactions, window: int) -> Any:
    """Sparse ``[I, I]``: how often one went on from i to j within ``window`` steps: 1 / gap each, lately more."""
    shape = (visits.items, visits.items)
    steps = sparse.csr_matrix(shape, dtype=np.float32)
    recent = recency(visits.at)
    for gap in range(1, window + 1):
        together = np.flatnonzero(visits.user[:-gap] == visits.user[gap:])
        weight = recent[together + gap] / gap
        pair = (visits.item[together], visits.item[together + gap])
        steps = steps + sparse.csr_matrix((weight.astype(np.float32), pair), shape=shape)
    return steps


def recency(at: Int64) -> Float64:
    """Weights of events at these times: the latest count most, the oldest FLOOR of that, 1 on average.

    The floor and the mean make evenly spaced (made up) times do no harm.
    """
    if not len(at):
        return np.empty(0)
    age = (at.max() - at).astype(np.float64)
    half_life = max(HALF_LIFE_MS, HALF_LIFE_SHARE * float(age.max()))
    weight = FLOOR + (1 - FLOOR) * 0.5 ** (age / half_life)
    return weight / weight.mean()


def _chunks(columns: Any, users: Any) -> Iterator[tuple[int, int]]:
    """Runs of items whose rows of the product together stay below CELLS non-zeros."""
    items = columns.shape[0]
    length = np.diff(users.indptr)
    touched = np.add.reduceat(np.append(length[columns.indices], 0), columns.indptr[:-1]) if items else length
    touched[np.diff(columns.indptr) == 0] = 0  # reduceat gives an empty slice its next element
    ahead = np.concatenate([[0], np.cumsum(np.minimum(touched, items))])
    first = 0
    while first < items:
        last = max(first + 1, int(np.searchsorted(ahead, ahead[first] + CELLS, side="right")) - 1)
        yield first, last
        first = last


def _neighbours(
    together: Any, first: int, count: Float64, neighbours: int, shrinkage: float
) -> tuple[Int64, Int32, Float32]:
    """(size, indices, data) of a slice of rows of the product: shrunk, cut to the best, best first."""
    row, column = together.row.astype(np.int64), together.col.astype(np.int64)
    other = row + first != column
    row, column = row[other], column[other]
    norm = count[row + first] ** TILT * count[column] ** (1 - TILT) + shrinkage
    similarity = (together.data[other] / norm).astype(np.float32)
    # One integer sorts by row and falling similarity: positive floats order like their bits.
    key = (row.astype(np.uint64) << np.uint64(32)) | (~similarity.view(np.uint32)).astype(np.uint64)
    order = np.argsort(key, kind="stable")
    found = np.bincount(row, minlength=together.shape[0])
    order = order[ragged_places(found) < neighbours]
    return np.minimum(found, neighbours), column[order].astype(np.int32), similarity[order]
