"""A slate in codes -> an answer in external ids, with what it rests on and why each item is in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from upnext.live import Live
from upnext.serving.funnels import Funnels
from upnext.serving.impressions import Shown
from upnext.serving.popular import Filling
from upnext.serving.question import Asked
from upnext.serving.reasons import reasons, sources_of
from upnext.types import Candidates, Slate, StageTrace
from upnext.xray import number, path_of

POPULARITY = "popularity"
UNRANKED = "ranking: fell back to the sources' order"  # as the pipeline says it


@dataclass(frozen=True, slots=True)
class Answer:
    """All rows of an answer, best first; ``items`` are codes."""

    items: list[int]
    rows: list[dict[str, Any]]
    propensity: list[float]

    def shown(self, asked: Asked, recommendation_id: str, version: str | None) -> Shown:
        """What the impressions of this answer say."""
        question = asked.question
        return Shown(
            recommendation_id=recommendation_id,
            user_id=question.user_id or "",
            surface=question.surface,
            now=int(asked.requests.now[0]),
            as_of=asked.as_of,
            model_version=version,
            context=question.context,
            positions=[row["position"] for row in self.rows],
            items=[row["item_id"] for row in self.rows],
            sources=[row["source"] for row in self.rows],
            propensity=self.propensity,
        )


def answer(
    asked: Asked, slate: Slate, filling: Filling, live: Live, funnels: Funnels, first_position: int = 0
) -> Answer:
    """The rows of a single request's slate, and of what fills it up."""
    chosen, ids = slate.chosen, live.catalogue.ids.names
    items = [*chosen.item.tolist(), *filling.item.tolist()]
    scores = [number(score) for score in np.asarray(chosen["utility"]).tolist()] + [None] * len(filling.item)
    proposed = sources_of(chosen)
    sources = proposed + [[POPULARITY]] * len(filling.item)
    why = reasons(asked, chosen, proposed, live, funnels) + [[why] for why in filling.reason]
    propensity = np.asarray(chosen["propensity"], np.float64).round(6).tolist() + [1.0] * len(filling.item)
    rows: list[dict[str, Any]] = [
        {"item_id": ids[item], "position": position, "score": score, "source": source, "reasons": because}
        for position, (item, score, source, because) in enumerate(
            zip(items, scores, sources, why, strict=True), start=first_position
        )
    ]
    if asked.question.explain:
        for item, row in zip(chosen.item.tolist(), rows, strict=False):
            row["explain"] = path_of(slate, item)
    return Answer(items, rows, propensity)


def stage_dicts(trace: tuple[StageTrace, ...]) -> list[dict[str, Any]]:
    """The trace as JSON: rows in and out and milliseconds of every stage, and the error of one that failed."""
    return [
        {
            "stage": stage.stage,
            "name": stage.name,
            "rows_in": stage.rows_in,
            "rows_out": stage.rows_out,
            "ms": round(stage.ms, 3),
            **({} if stage.error is None else {"error": stage.error}),
        }
        for stage in trace
    ]


def no_slate() -> Slate:
    """The slate of a single request for which no funnel was asked."""
    nothing = np.empty(0, np.float32)
    empty = Candidates(np.empty(0, np.int32), np.zeros(2, np.int64), {"utility": nothing, "propensity": nothing})
    return Slate(empty, empty, {}, (), (), 0.0)


def without_note(slate: Slate, note: str) -> Slate:
    """The slate of a funnel that is meant to be as one that fell back: nothing was degraded."""
    return replace(slate, degraded=tuple(entry for entry in slate.degraded if entry != note))
