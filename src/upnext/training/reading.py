"""How much the order of a history says, and how much a few people do: found out by foretelling what came next.

Where one thing leads to another, the last visits say most and neighbours are what comes after; where a log has no
order that means anything, all visits say the same. Where what is popular stays so, pairs that few people made are best
left alone; where everybody looks for places of their own, they are what matters. No one setting serves all logs, so
the log is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from upnext.candidates.because_you_watched import CoVisitation, Reading, summed
from upnext.candidates.keys import keys_of, values_of, without
from upnext.config import BecauseYouWatchedConfig
from upnext.training.co_visitation import configured, fit_co_visitation
from upnext.training.interactions import Interactions
from upnext.training.next_item import first_visits
from upnext.training.progress import Progress
from upnext.training.sequences import Sequences, sequences
from upnext.types import Int64, ragged_rows

DECAYS = (0.7, 0.8, 0.9, 1.0)
SHRINKAGES = (5.0, 20.0)
QUESTIONS = 5_000  # people who are asked about, at most
FEWEST = 200  # below that many the differences are noise
PLACES = 20  # NDCG at so many
PART = 500  # questions answered at once


def find_reading(
    everything: Interactions, since: int, config: BecauseYouWatchedConfig, length: int, seed: int, progress: Progress
) -> Reading:
    """The reading by which what came before ``since`` (ms) best foretells people's first new visit after it.

    ``length`` is how many visits of a history are read. What the configuration gives is not tried otherwise.
    """
    best = configured(config)
    seen = sequences(everything)
    rows = _questions(seen, since, seed)
    if (config.history_decay is not None and config.shrinkage is not None) or len(rows) < FEWEST:
        return best
    early = everything.at < since
    known = Interactions(
        everything.user[early], everything.item[early], everything.weight[early], everything.at[early],
        everything.users, everything.items,
    )  # fmt: skip

    def tried(reading: Reading, decays: Iterable[float]) -> dict[Reading, float]:
        neighbours = fit_co_visitation(known, config, progress, reading)
        ways = [replace(reading, history_decay=decay) for decay in decays]
        return {way: _ndcg(neighbours, way.history_decay, seen, rows, length) for way in ways}

    found: dict[Reading, float] = {}
    if config.history_decay is None:
        for window in dict.fromkeys((config.window, 0)):
            found |= tried(replace(best, window=window), DECAYS)
        best = max(found, key=lambda reading: found[reading])
    if config.shrinkage is None:
        for shrinkage in SHRINKAGES:
            if (reading := replace(best, shrinkage=shrinkage)) not in found:
                found |= tried(reading, (best.history_decay,))
        best = max(found, key=lambda reading: found[reading])
    order = f"looking {best.window} steps ahead" if best.window else "whatever their order"
    progress.say(
        f"Histories are read {order}, each older visit x {best.history_decay:g}, neighbours with a shrinkage of "
        f"{best.shrinkage:g} (NDCG@{PLACES} {found[best]:.4f})"
    )
    return best


def _questions(seen: Sequences, since: int, seed: int) -> Int64:
    """Rows of first visits since then, one a person, of people with a history."""
    rows = np.flatnonzero((seen.began >= since) & first_visits(seen))
    rows = rows[np.unique(seen.user[rows], return_index=True)[1]]
    rows = rows[(rows > seen.start[rows]) & (seen.ended[rows - 1] < since)]
    if len(rows) > QUESTIONS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, QUESTIONS, replace=False))
    return rows


def _ndcg(neighbours: CoVisitation, decay: float, seen: Sequences, rows: Int64, length: int) -> float:
    """Of the item of each row among the neighbours of the visits before it; ties count against."""
    total = 0.0
    for first in range(0, len(rows), PART):
        asked = rows[first : first + PART]
        size = np.minimum(asked - seen.start[asked], length)
        offsets = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
        request = ragged_rows(offsets)
        visit = seen.item[np.arange(len(request)) - offsets[request] + (asked - size)[request]]
        key, score = summed(offsets, visit, decay, neighbours.indptr, neighbours.indices, neighbours.data)
        key, value = without(key, score.astype(np.float32), keys_of(request, visit))
        mine = values_of(key, value, np.arange(len(asked) + 1), seen.item[asked])
        at_least = value >= mine[key >> 32]
        rank = np.bincount((key >> 32)[at_least], minlength=len(asked))
        counts = (mine > 0) & (rank <= PLACES)
        total += float((1 / np.log2(rank[counts] + 1)).sum())
    return total / len(rows)
