"""Against the truth of a simulated world: how much of what is really best do the candidates hold, and the slates?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from upnext.build import Model
from upnext.evaluation import metrics
from upnext.evaluation.results import FUNNEL
from upnext.evaluation.slates import DEPTH, by_score, padded, popular
from upnext.live import Live
from upnext.simulation.frames import load_truth
from upnext.simulation.oracle import expected_value, oracle_top
from upnext.training.progress import Progress
from upnext.types import Float32, Float64, Int32, Ragged, Slate

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
    hits: list[Float64] = []
    values: dict[str, list[Float32]] = {}
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
            slates = {"oracle": best[:, :k], "popularity": _rows(popular(live, some, requests.now, k), to_row)}
            slates |= {name: _rows(items, to_row) for name, items in chosen(slate, k).items()}
            for name, items in slates.items():
                values.setdefault(name, []).append(expected_value(world, rows, items, now))
            step(len(some), "")
    mean = {name: float(np.concatenate(parts).mean()) for name, parts in values.items()}
    return {
        f"union recall@{DEPTH} of the best {BEST}": float(np.nanmean(np.concatenate(hits))),
        **{
            f"value of {name}, share of the best": value / mean["oracle"]
            for name, value in mean.items()
            if name != "oracle"
        },
    }


def chosen(slate: Slate, k: int) -> dict[str, Int32]:
    """What the funnel and each source alone would show, ``[B, k]``."""
    scores = [name for name in slate.considered.columns if name.startswith("score_")]
    alone = {name.removeprefix("score_"): padded(by_score(slate.considered, name), k) for name in scores}
    return {FUNNEL: padded(slate.chosen, k), **alone}


def _rows(items: Int32, to_row: Int32) -> Int32:
    return np.where(items >= 0, to_row[np.maximum(items, 0)], -1).astype(np.int32)
