"""Against the truth of a simulated world: how much of what is really best do the candidates hold, and the slates?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from upnext.build import Model
from upnext.evaluation import metrics
from upnext.evaluation.slates import DEPTH, padded, popular
from upnext.live import Live
from upnext.simulation.frames import load_truth
from upnext.simulation.oracle import expected_value, oracle_top
from upnext.training.progress import Progress
from upnext.types import Int32, Ragged

AT_ONCE = 64
BEST = 10


def against_truth(
    directory: Path, model: Model, live: Live, users: Int32, now: int, k: int, progress: Progress
) -> dict[str, float | None]:
    """All users asked at one moment, the live state being as of then. Ids are those that the world gave.

    ``value`` is the true expected value of a slate (World.value), as a share of the oracle's.
    """
    world = load_truth(directory)
    to_row = np.array([int(id_[1:]) for id_ in live.catalogue.ids.names], np.int32)
    user_row = np.array([int(id_[1:]) for id_ in live.users.ids.decode(users)], np.int32)
    hits, values = [], []
    with progress.track("against the truth", len(users)) as step:
        for start in range(0, len(users), AT_ONCE):
            some, rows = users[start : start + AT_ONCE], user_row[start : start + AT_ONCE]
            requests = live.requests(some, np.full(len(some), now), k)
            slate = model.funnel(requests, observe=False)
            seen = [to_row[live.state.seen(user)].tolist() for user in some.tolist()]
            best = oracle_top(world, rows, now, BEST, Ragged.of(seen))
            union = _rows(padded(slate.considered, DEPTH), to_row)
            truth = Ragged.of([row[row >= 0].tolist() for row in best])
            hits.append(metrics.recall(union, truth, DEPTH).value)
            slates = (
                best[:, :k],
                _rows(padded(slate.chosen, k), to_row),
                _rows(popular(live, some, requests.now, k), to_row),
            )
            values.append([expected_value(world, rows, items, now) for items in slates])
            step(len(some), "")
    oracle, funnel, popularity = (float(np.concatenate(parts).mean()) for parts in zip(*values, strict=True))
    return {
        f"union recall@{DEPTH} of the best {BEST}": float(np.nanmean(np.concatenate(hits))),
        "value of the slate, share of the best": funnel / oracle,
        "value of popularity, share of the best": popularity / oracle,
    }


def _rows(items: Int32, to_row: Int32) -> Int32:
    return np.where(items >= 0, to_row[np.maximum(items, 0)], -1).astype(np.int32)
