"""One page under two settings: the same candidates and predictions, valued, boosted and put in order twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from upnext.build import Model
from upnext.config import Config
from upnext.live import Live
from upnext.serving.console.dials import turned
from upnext.serving.console.kept import Kept
from upnext.serving.items import describe
from upnext.serving.problems import Invalid
from upnext.types import Candidates, Int64
from upnext.xray import number

DAY_MS = 86_400_000


def preview(page: Kept, config: Config, dials: Mapping[str, float], live: Live) -> dict[str, Any]:
    """The slate as it is set now and as the dials would make it, with what moved and what each is predicted to do."""
    model = page.funnels.model
    if model is None or "value" not in page.slate.considered:
        raise Invalid("no model is published: there is nothing to weigh", None, "`upnext train` makes one")
    now = _slate(page, model, config)
    then = _slate(page, model, turned(config, dials))
    places = {item: place for place, item in enumerate(now.item.tolist())}
    return {
        "recommendation_id": page.recommendation_id,
        "user_id": page.asked.question.user_id,
        "now": {"items": _rows(now, live, {}), "expected": _expected(now, model, page, live)},
        "then": {"items": _rows(then, live, places), "expected": _expected(then, model, page, live)},
        "moved": sum(1 for place, item in enumerate(then.item.tolist()) if places.get(item) not in (None, place)),
        "entered": sum(1 for item in then.item.tolist() if item not in places),
    }


def _slate(page: Kept, model: Model, config: Config) -> Candidates:
    return model.retuned(config, accounted=False).funnel.again(page.asked.requests, page.slate.considered)


def _rows(slate: Candidates, live: Live, before: Mapping[int, int]) -> list[dict[str, Any]]:
    """``was`` is the place in the current slate; null = not in it."""
    return [
        {
            **describe(live, item),
            "position": place,
            "was": before.get(item),
            "utility": number(slate["utility"][place]),
            "explored": bool(slate["propensity"][place] < 1),
        }
        for place, item in enumerate(slate.item.tolist())
    ]


def _expected(slate: Candidates, model: Model, page: Kept, live: Live) -> dict[str, float | None]:
    """Sums of the predictions over the slate, as if every item were looked at; and how different its items are."""
    columns, tasks = model.task_columns, model.ranker.spec
    found: dict[str, float | None] = {
        task: number(np.nansum(np.asarray(slate[columns[task]], np.float64)))
        for task in tasks.binary_tasks
        if columns[task] in slate
    }
    for task in tasks.seconds_tasks:
        if columns[task] in slate:
            found[f"{task} minutes"] = number(np.nansum(np.asarray(slate[columns[task]], np.float64)) / 60)
    size = len(slate)
    alike = model.likeness(slate.item)
    found["diversity"] = number(1 - (alike.sum() - size) / (size * (size - 1))) if size > 1 else None
    published: Int64 = live.catalogue().published_at[slate.item]
    ages = (int(page.asked.requests.now[0]) - published[published > 0]) / DAY_MS
    found["median age days"] = number(np.median(np.maximum(ages, 0))) if len(ages) else None
    found["explored"] = float(np.count_nonzero(np.asarray(slate["propensity"], np.float32) < 1))
    return found
