"""The funnel of one served page, in numbers; and one item's path through it, whether it was shown or not."""

from __future__ import annotations

from typing import Any

import numpy as np

from upnext.live import Live
from upnext.serving.answers import stage_dicts
from upnext.serving.console.kept import Kept
from upnext.serving.console.mattered import mattered
from upnext.serving.explain import explain
from upnext.serving.items import describe
from upnext.types import Candidates, StageTrace
from upnext.xray import SCORE, choice, in_order, number, predictions

LISTED = 60  # candidates, the best by utility
_FILTER = "filter "


def funnel(page: Kept, live: Live) -> dict[str, Any]:
    """What each stage did to the candidates of this page."""
    slate, asked = page.slate, page.asked
    trace = {(stage.stage, stage.name): stage for stage in slate.trace}
    merged = trace.get(("candidates", "merge"))
    return {
        "recommendation_id": page.recommendation_id,
        "user_id": asked.question.user_id,
        "fresh": page.fresh,
        "asked_at": int(asked.requests.now[0]),
        "basis": asked.basis,
        "model_version": page.funnels.version,
        "took_ms": round(slate.took_ms, 3),
        "degraded": [*page.funnels.degraded, *slate.degraded],
        "sources": [_source(page, name, quota, trace.get(("candidates", name))) for name, quota in _quotas(page)],
        "merged": 0 if merged is None else merged.rows_out,
        "filters": [
            {
                "filter": stage.name.removeprefix(_FILTER),
                "removed": stage.rows_in - stage.rows_out,
                "of": stage.rows_in,
                "ms": round(stage.ms, 3),
            }
            for stage in slate.trace
            if stage.name.startswith(_FILTER)
        ],
        "ranked": len(slate.considered),
        "shown": len(slate.chosen),
        "stages": stage_dicts(slate.trace),
        "weights": page.weights,
        "choice_power": page.choice_power,
        "candidates": candidates(page, live),
    }


def candidates(page: Kept, live: Live) -> list[dict[str, Any]]:
    """The best by utility with each source's score and each task's prediction, and whatever else was shown."""
    rows, chosen = page.slate.considered, page.slate.chosen
    order = in_order(rows)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    position = {item: at for at, item in enumerate(chosen.item.tolist())}
    listed = order[:LISTED].tolist()
    listed += [row for row in np.flatnonzero(np.isin(rows.item, chosen.item)).tolist() if place[row] >= LISTED]
    return [
        {
            **describe(live, int(rows.item[row])),
            "place": int(place[row]),
            "position": position.get(int(rows.item[row])),
            "choice": choice(rows, row),
            "value": number(rows["value"][row]),
            "utility": number(rows["utility"][row]),
            "scores": _scores(rows, row),
            "predictions": predictions(rows, row),
        }
        for row in listed
    ]


def item_path(page: Kept, item: int, live: Live) -> dict[str, Any]:
    """Where the item came from, what was predicted, what its value is made of, and what the reranking did."""
    path = explain(page.asked, item, page.funnels, live, page.slate)
    found = np.flatnonzero(page.slate.considered.item == item)
    path |= {"card": describe(live, item), "fresh": page.fresh, "shown": len(page.slate.chosen)}
    ranked = path if "predictions" in path else path.get("had_it_been_ranked", {})
    path["value_parts"] = _value_parts(page, ranked.get("predictions", {}))
    path["held"] = _held(page, path["value_parts"], ranked)
    path["boosts"] = {}
    path["features"] = []
    if len(found):
        row = page.slate.considered.take(found[:1], np.array([0, 1], np.int64))
        path["boosts"] = {b.name: number(b(page.asked.requests, row)[0]) for b in page.funnels.whole.boosts}
        path["features"] = mattered(page, int(found[0]))
    return path


def _value_parts(page: Kept, predicted: dict[str, Any]) -> list[dict[str, Any]]:
    if page.funnels.model is None:
        return []
    parts = []
    for task, column in page.funnels.model.task_columns.items():
        prediction, weight = predicted.get(column), page.weights.get(task, 0.0)
        if prediction is not None:
            part = {"task": task, "prediction": prediction, "weight": weight, "part": number(weight * prediction)}
            parts.append(part)
    return parts


def _held(page: Kept, parts: list[dict[str, Any]], ranked: dict[str, Any]) -> dict[str, Any] | None:
    """What the choices of people make of the parts: value = sum x factor. None where they count for nothing."""
    value, share, total = ranked.get("value"), ranked.get("choice"), sum(part["part"] for part in parts)
    if value is None or share is None or not page.choice_power:
        return None
    factor = number(value / total) if total else None
    return {"sum": number(total), "choice": share, "power": page.choice_power, "factor": factor}


def _quotas(page: Kept) -> list[tuple[str, int]]:
    funnel = page.funnels.anchored if page.asked.anchored else page.funnels.whole
    return [(source.name, quota) for source, quota in funnel.sources]


def _source(page: Kept, name: str, quota: int, stage: StageTrace | None) -> dict[str, Any]:
    considered, chosen = page.slate.considered, page.slate.chosen
    return {
        "source": name,
        "quota": quota,
        "proposed": 0 if stage is None else stage.rows_out,
        "ranked": _proposed(considered, name),
        "shown": _proposed(chosen, name),
        "ms": None if stage is None else round(stage.ms, 3),
        "error": "late" if stage is None else stage.error,
    }


def _proposed(rows: Candidates, source: str) -> int:
    column = f"{SCORE}{source}"
    return int(np.count_nonzero(np.isfinite(rows[column]))) if column in rows else 0


def _scores(rows: Candidates, row: int) -> dict[str, float | None]:
    found = {name.removeprefix(SCORE): number(rows[name][row]) for name in rows.columns if name.startswith(SCORE)}
    return {name: score for name, score in found.items() if score is not None}
