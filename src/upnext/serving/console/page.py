"""A home page as a viewer knows it: rows of cards, no item twice. The first row is the funnel's answer as it is.

The other rows take what is left of the same candidates by one source each; a second, anchored answer follows from what
was watched last. Every row is logged as shown, at places that count on from the row above it: the ranker learns what a
place does to a click, and the first card of a lower row is not the top of the page.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from upnext.live import Live
from upnext.serving.console.kept import SURFACE, Kept, Pages
from upnext.serving.engine import Engine
from upnext.serving.funnels import Funnels
from upnext.serving.impressions import Shown
from upnext.serving.items import describe
from upnext.serving.question import Asked, Question
from upnext.types import Int32, Slate
from upnext.xray import number

ROW = 12
PATIENT_MS = 1000.0  # people wait for a page longer than a caller for an answer: it degrades later
_ROWS = (  # what they are called, whose candidates they take, and by which column
    ("watch_again", "Watch it again", "score_watch_again", "score_watch_again"),
    ("trending", "Trending now", "score_trending", "score_trending"),
    ("new", "New for you", "score_new_items", "utility"),
)


def home_page(engine: Engine, pages: Pages, user_id: str, arrived: float | None = None) -> dict[str, Any]:
    """The rows for this user, each logged as shown."""
    seen: list[tuple[Asked, Slate, Funnels]] = []
    question = Question(user_id=user_id, n=ROW, surface=SURFACE, context={"row": "for_you"}, deadline_ms=PATIENT_MS)
    answer = engine.answer(question, arrived, witness=lambda *how: seen.append(how))
    asked, slate, funnels = seen[0]
    pages.keep(Kept(answer["recommendation_id"], asked, slate, funnels, engine.config))
    live = engine.live
    rows = [_answered(live, "for_you", "For you", answer)]
    taken = _codes(live, rows[0])
    if (anchor := last_liked(asked, live)) is not None:
        because = _because(engine, pages, user_id, anchor, taken)
        rows.append(because)
        taken |= _codes(live, because)
    for key, title, column, by in _ROWS:
        chosen = _best(slate, column, by, taken)
        if len(chosen):
            rows.append(_taken(engine, asked, funnels.version, key, title, chosen, len(taken)))
            taken |= set(chosen.tolist())
    known = live.users.ids.code(user_id) >= 0
    return {
        "user_id": user_id,
        "known": known,
        **{name: answer[name] for name in ("basis", "model_version", "notes", "degraded", "took_ms", "stages")},
        "rows": [row for row in rows if row["items"]],
        "history": list(_history(asked, live)),
    }


def last_liked(asked: Asked, live: Live) -> int | None:
    """The item of the latest event that speaks for its item, if it may still be named."""
    acted = asked.requests.acted
    liked = (live.roles.preference(acted.event, acted.value)[0] > 0) & (acted.item[0] >= 0)
    for item in acted.item[0][liked][::-1].tolist():
        if item not in live.catalogue.deleted:
            return int(item)
    return None


def _because(engine: Engine, pages: Pages, user_id: str, anchor: int, taken: set[int]) -> dict[str, Any]:
    live, seen = engine.live, list[tuple[Asked, Slate, Funnels]]()
    name = live.catalogue.ids.names[anchor]
    question = Question(
        user_id=user_id,
        items=[name],
        n=ROW,
        surface=SURFACE,
        context={"row": "because"},
        deadline_ms=PATIENT_MS,
        exclude_ids=live.catalogue.ids.decode(sorted(taken)),
        log_impressions=False,  # the answer does not know that it stands below another
    )
    answer = engine.answer(question, witness=lambda *how: seen.append(how))
    asked, slate, funnels = seen[0]
    pages.keep(Kept(answer["recommendation_id"], asked, slate, funnels, engine.config))
    title = live.catalogue().title[anchor] or name
    row = _answered(live, "because", f"Because you watched {title}", answer, len(taken))
    drawn = np.asarray(slate.chosen["propensity"], np.float64).round(6).tolist()
    _log(engine, asked, funnels.version, row, drawn + [1.0] * (len(row["items"]) - len(drawn)))
    return row


def _answered(live: Live, key: str, title: str, answer: dict[str, Any], above: int = 0) -> dict[str, Any]:
    """An answer as a row with so many cards above it."""
    items = [
        {**describe(live, live.catalogue.ids.code(row["item_id"])), **row, "position": above + row["position"]}
        for row in answer["items"]
    ]
    return {"key": key, "title": title, "recommendation_id": answer["recommendation_id"], "items": items}


def _codes(live: Live, row: dict[str, Any]) -> set[int]:
    return {live.catalogue.ids.code(card["item_id"]) for card in row["items"]}


def _best(slate: Slate, column: str, by: str, taken: set[int]) -> Int32:
    """Up to a row of a source's candidates that are in no row yet, by falling ``by``."""
    rows = slate.considered
    if column not in rows or by not in rows:
        return np.empty(0, np.int32)
    free = np.isfinite(rows[column]) & ~np.isin(rows.item, list(taken))
    found = np.flatnonzero(free)
    order = np.argsort(-np.asarray(rows[by], np.float64)[found], kind="stable")
    return rows.item[found[order[:ROW]]]


def _taken(
    engine: Engine, asked: Asked, version: str | None, key: str, title: str, chosen: Int32, above: int
) -> dict[str, Any]:
    """A row of these items with so many cards above it. Nothing in it is drawn: after those, its chance is 1."""
    live, source = engine.live, {"new": "new_items"}.get(key, key)
    cards = [
        {**describe(live, code), "position": place, "score": None, "source": [source], "reasons": [title.lower()]}
        for place, code in enumerate(chosen.tolist(), start=above)
    ]
    row = {"key": key, "title": title, "recommendation_id": uuid.uuid4().hex, "items": cards}
    _log(engine, asked, version, row, [1.0] * len(cards))
    return row


def _log(engine: Engine, asked: Asked, version: str | None, row: dict[str, Any], propensity: Sequence[float]) -> None:
    """The row as impressions; ``propensity`` is each card's chance of its place, given what stands before it."""
    cards = row["items"]
    shown = Shown(
        recommendation_id=row["recommendation_id"],
        user_id=asked.question.user_id or "",
        surface=SURFACE,
        now=int(asked.requests.now[0]),
        as_of=asked.as_of,
        model_version=version,
        context={"row": row["key"]},
        positions=[card["position"] for card in cards],
        items=[card["item_id"] for card in cards],
        sources=[card["source"] for card in cards],
        propensity=propensity,
    )
    engine.impressions.put(shown)


def _history(asked: Asked, live: Live, most: int = 12) -> Iterator[dict[str, Any]]:
    """The latest events, newest first."""
    acted = asked.requests.acted
    columns = (acted.item[0], acted.event[0], acted.value[0], acted.at[0])
    rows = [row for row in zip(*(column.tolist() for column in columns), strict=True) if row[0] >= 0]
    for item, event, value, at in rows[::-1][:most]:
        card = describe(live, item)
        yield {**card, "event": live.roles.names[event], "value": number(value), "at": at}
