"""Why an item is shown to somebody, or is not: its path through the stages of one answer, or where it fell out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from upnext.reranking.order import by_utility
from upnext.types import Candidates, Int64, Slate

SCORE = "score_"
CHOICE = "choice"  # ranking.choice: no task, but what the weighted sum of all tasks is held to
_NOT_PREDICTIONS = (CHOICE, "value", "utility", "propensity")


def path_of(slate: Slate, item: int, request: int = 0) -> dict[str, Any]:
    """The path of the item with this code through one request of a slate. Places and positions count from 0, the top.

    ``stage`` and ``outcome`` say where it ended: candidates (no source proposed it, or a filter removed it),
    reranking (it was ranked, and others were chosen) or shown.
    """
    considered = slate.considered.of_request(request)
    removed = {name: rows.of_request(request) for name, rows in slate.removed.items()}
    chosen = slate.chosen.of_request(request)
    path: dict[str, Any] = {"sources": _sources([considered, *removed.values()], item)}
    removed_by = next((name for name, rows in removed.items() if item in rows.item), None)
    position = _place(chosen, item)
    place = _place(considered, item)
    path["removed_by"] = removed_by
    if place is not None:
        path |= _ranked(considered, place)
    path["position"] = position
    if position is not None:
        path["propensity"] = number(chosen["propensity"][position])
        return {"stage": "shown", "outcome": f"shown at position {position}", **path}
    if place is not None:
        rank, of = path["place_before_reranking"], len(considered)
        outcome = f"ranked at place {rank} of {of} by utility; the {len(chosen)} shown were chosen before it"
        return {"stage": "reranking", "outcome": outcome, **path}
    if removed_by is not None:
        return {"stage": "candidates", "outcome": f"removed by the filter {removed_by!r}", **path}
    return {"stage": "candidates", "outcome": "no source proposed it within its quota", **path}


def in_order(considered: Candidates) -> Int64:
    """The rows of a request's candidates by falling utility: the places that paths speak of."""
    return by_utility(considered).rows


def predictions(rows: Candidates, row: int) -> dict[str, float | None]:
    """What was predicted for a row by task: each column that is no source's score and not made from predictions."""
    names = [name for name in rows.columns if not name.startswith(SCORE) and name not in _NOT_PREDICTIONS]
    return {name: number(rows[name][row]) for name in names}


def choice(rows: Candidates, row: int) -> float | None:
    """How likely a row is to be chosen against the likeliest of its request; None where the model does not say."""
    return number(rows[CHOICE][row]) if CHOICE in rows else None


def number(value: Any) -> float | None:
    """As JSON can hold it: six significant digits, None where not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _ranked(considered: Candidates, row: int) -> dict[str, Any]:
    order = in_order(considered)
    return {
        "predictions": predictions(considered, row),
        "choice": choice(considered, row),
        "value": number(considered["value"][row]),
        "utility": number(considered["utility"][row]),
        "place_before_reranking": int(np.flatnonzero(order == row)[0]),
        "considered": len(considered),
    }


def _place(rows: Candidates, item: int) -> int | None:
    found = np.flatnonzero(rows.item == item)
    return int(found[0]) if len(found) else None


def _sources(parts: list[Candidates], item: int) -> list[dict[str, Any]]:
    """Which sources proposed the item, with its score and its rank among what they proposed to this request."""
    return [entry for name in _score_columns(parts) for entry in _proposed(parts, name, item)]


def _score_columns(parts: list[Candidates]) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part.columns if name.startswith(SCORE)))


def _proposed(parts: list[Candidates], column: str, item: int) -> Iterator[dict[str, Any]]:
    holding = [part for part in parts if column in part]
    items = np.concatenate([part.item for part in holding])
    scores = np.concatenate([np.asarray(part[column], np.float64) for part in holding])
    for score in scores[(items == item) & ~np.isnan(scores)][:1]:
        yield {
            "source": column.removeprefix(SCORE),
            "score": number(score),
            "rank": int(np.count_nonzero(scores > score)),
            "proposed": int(np.count_nonzero(~np.isnan(scores))),
        }
