"""Why this item, or why not: the path through the funnel, and what would have been had a source proposed it."""

from __future__ import annotations

from typing import Any

import numpy as np

from upnext.live import Live
from upnext.pipeline import Funnel, boosted
from upnext.serving.funnels import Funnels
from upnext.serving.question import Asked
from upnext.types import Candidates, Requests, Slate
from upnext.xray import SCORE, choice, number, path_of, predictions


def explain(asked: Asked, item: int, funnels: Funnels, live: Live, slate: Slate | None = None) -> dict[str, Any]:
    """The x-ray of one item for one question. Nothing is logged.

    Of the ``slate`` that was the answer, or else of one that is made for this, which no deadline cuts off.
    """
    if slate is None:
        slate = funnels.whole(asked.requests, None, observe=False)
    path = path_of(slate, item)
    catalogue = live.catalogue()
    if path["stage"] == "candidates" and not any(entry.startswith("ranking") for entry in slate.degraded):
        path["had_it_been_ranked"] = _had_it_been_ranked(asked.requests, item, slate, funnels.whole)
    return {
        "user_id": asked.question.user_id,
        "item_id": live.catalogue.ids.names[item],
        "title": catalogue.title[item],
        "model_version": funnels.version,
        "basis": asked.basis,
        **path,
        "fit": _fit(asked.requests, item, funnels),
        "degraded": [*funnels.degraded, *slate.degraded],
    }


def _one_row(item: int, columns: dict[str, Any]) -> Candidates:
    return Candidates(np.array([item], np.int32), np.array([0, 1], np.int64), columns)


def _fit(requests: Requests, item: int, funnels: Funnels) -> dict[str, float | None]:
    """How well the item fits by each source that can score any item, also where it did not propose it."""
    if funnels.model is None:
        return {}
    row = _one_row(item, {})
    return {scorer.name: number(scorer.score(requests, row)[0]) for scorer in funnels.model.sources.scorers}


def _had_it_been_ranked(requests: Requests, item: int, slate: Slate, funnel: Funnel) -> dict[str, Any]:
    """Its predictions and its place, ranked with all that was considered."""
    considered = slate.considered
    scores = {
        name: np.append(np.asarray(column, np.float32), np.float32(np.nan))
        for name, column in considered.columns.items()
        if name.startswith(SCORE)
    }
    rows = Candidates(np.append(considered.item, np.int32(item)), np.array([0, len(considered) + 1], np.int64), scores)
    features = np.concatenate([hydrator(requests, rows) for hydrator in funnel.hydrators], axis=1)
    rows = rows.with_features(features, tuple(name for hydrator in funnel.hydrators for name in hydrator.names))
    rows = rows.with_columns(funnel.rankers[0](requests, rows))
    rows = rows.with_columns({"value": funnel.value(requests, rows)})
    utility = boosted(rows["value"], [boost(requests, rows) for boost in funnel.boosts])
    return {
        "predictions": predictions(rows, -1),
        "choice": choice(rows, -1),
        "value": number(rows["value"][-1]),
        "utility": number(utility[-1]),
        "place": int(np.count_nonzero(utility[:-1] > utility[-1])),
    }
