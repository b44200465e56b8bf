"""Finding items and users by a few letters, and what stands near an item. The work is capped, whatever the size."""

from __future__ import annotations

from typing import Any

import numpy as np

from upnext.serving.engine import Engine
from upnext.serving.items import describe
from upnext.serving.question import Question
from upnext.types import Candidates, Int32
from upnext.xray import path_of

SECONDS = 0.4  # of looking at titles, at most
LOOKED_AT = 400  # matches, among which the best are chosen
PEOPLE = 300  # users looked at for an item's audience
ASKED = 5  # of them, whose whole answers are made


def items(engine: Engine, words: str, n: int) -> dict[str, Any]:
    """Items whose id or title holds ``words``: the exact id first, then by popularity. No words: what is popular."""
    live, words = engine.live, words.strip()
    if not words:
        codes = live.catalogue.ids.encode([row["item_id"] for row in engine.trending(n)["items"]])
        return {"items": [describe(live, code) for code in codes.tolist()], "complete": True}
    by_id, all_ids = live.catalogue.ids.names.containing(words, LOOKED_AT, SECONDS / 2)
    titles = live.catalogue().title
    by_title, all_titles = titles.containing(words, LOOKED_AT, SECONDS / 2)  # type: ignore[attr-defined]
    found = np.setdiff1d(np.union1d(by_id, by_title), sorted(live.catalogue.deleted)).astype(np.int32)
    found = found[found < len(live.catalogue())]
    exact = live.catalogue.ids.code(words)
    counted = live.state.popularity(live.latest)
    popularity = np.where(found < len(counted), np.take(counted, found, mode="clip"), 0) if len(counted) else found * 0
    order = np.lexsort((found, -popularity, found != exact))[:n]
    full = max(len(by_id), len(by_title)) < LOOKED_AT
    return {
        "items": [describe(live, code) for code in found[order].tolist()],
        "complete": bool(all_ids and all_titles and full),
    }


def users(engine: Engine, words: str, n: int) -> dict[str, Any]:
    """Users whose id holds ``words``, the exact one first; no words: some with a history."""
    ids, words = engine.live.users.ids, words.strip()
    size = len(ids)
    if words:
        found, complete = ids.names.containing(words, LOOKED_AT, SECONDS)
        exact = ids.code(words)
        found = np.append(np.int32(exact), found[found != exact]) if exact >= 0 else found
    else:
        found, complete = np.arange(min(size, LOOKED_AT), dtype=np.int32), True
    events = _events(engine, found)
    if not words:
        found, events = found[events > 0], events[events > 0]
    rows = [
        {"user_id": ids.names[code], "events": count}
        for code, count in zip(found[:n].tolist(), events[:n].tolist(), strict=True)
    ]
    return {"users": rows, "complete": bool(complete and len(found) < LOOKED_AT), "total": size}


def _events(engine: Engine, codes: Int32) -> Int32:
    """How many events each user's kept history has."""
    acted, _ = engine.live.state.histories(codes)
    return np.count_nonzero(acted.item >= 0, axis=1).astype(np.int32)


def neighbours(engine: Engine, item_id: str, n: int) -> dict[str, Any]:
    """What the two-tower model puts next to an item, by the cosine of their vectors. Raises NotFound."""
    code, live = engine.ingest.known_item(item_id), engine.live
    model = engine.funnels.model
    tower = None if model is None else model.sources.two_tower
    if tower is None:
        return {"item_id": item_id, "items": [], "note": "no two-tower model is published"}
    nobody = engine.ask(Question(items=[item_id], n=n, allow_watched=True)).requests
    near = tower(nobody, n + 1)
    cards = [
        {**describe(live, item), "score": round(score, 4)}
        for item, score in zip(near.item.tolist(), near["score"].tolist(), strict=True)
        if item != code and item not in live.catalogue.deleted
    ]
    return {"item_id": item_id, "items": cards[:n], "note": None}


def audience(engine: Engine, item_id: str, n: int) -> dict[str, Any]:
    """Users whom the item fits, of a few hundred spread over all, and where it stands in their answers."""
    code, live, funnels = engine.ingest.known_item(item_id), engine.live, engine.funnels
    size = len(live.users.ids)
    if funnels.model is None or funnels.model.sources.two_tower is None or not size:
        return {"item_id": item_id, "looked_at": 0, "users": []}
    some = np.unique(np.linspace(0, size - 1, PEOPLE).astype(np.int32))
    some = some[_events(engine, some) > 0]
    now = np.full(len(some), engine.clock.now(), np.int64)
    each = Candidates(np.full(len(some), code, np.int32), np.arange(len(some) + 1, dtype=np.int64))
    fit = funnels.model.sources.two_tower.score(live.requests(some, now, n), each)
    best = np.argsort(-fit, kind="stable")[:ASKED]
    slate = funnels.whole(live.requests(some[best], now[best], n), None, observe=False)
    rows = []
    for place, user in enumerate(some[best].tolist()):
        path = path_of(slate, code, place)
        entry = {"user_id": live.users.ids.names[user], "fit": round(float(fit[best[place]]), 4)}
        rows.append({**entry, **{name: path.get(name) for name in ("stage", "outcome", "position")}})
    return {"item_id": item_id, "looked_at": len(some), "users": rows}
