"""Answers for many users at once: the server's funnel, its fillers and its names, as rows of a table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl

from upnext.batch.plan import Plan
from upnext.live import Live
from upnext.serving.answers import POPULARITY
from upnext.serving.funnels import Funnels
from upnext.serving.popular import Filling, Popular
from upnext.serving.reasons import sources_of
from upnext.types import Candidates, Float32, Int32, Int64, Requests, Slate

AT_ONCE = 32  # requests a call of the funnel: from 16 on, more share no more work (docs/batch.md)

SCHEMA = {
    "user_id": pl.String(),
    "rank": pl.Int32(),  # 1 = the top
    "item_id": pl.String(),
    "score": pl.Float32(),  # null for a popular item that fills a place
    "source": pl.List(pl.String()),
    "propensity": pl.Float32(),  # 1 where nothing was drawn
    "degraded": pl.String(),  # what failed on the way, null = nothing
    "model_version": pl.String(),
    "made_at": pl.Datetime("ms", "UTC"),
}


class Answers:
    """Calling it answers the users of a table (``user_id``, ``code``) as the plan says; rows as in SCHEMA."""

    def __init__(self, plan: Plan, live: Live, funnels: Funnels) -> None:
        self._plan, self._live, self._funnel = plan, live, funnels.whole
        self._popular = Popular(live)
        self._surface = max(live.surfaces.code(plan.surface), 0)
        self._made_at = datetime.fromtimestamp(plan.now / 1000, UTC)

    def __call__(self, users: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([self._answered(users[start : start + AT_ONCE]) for start in range(0, len(users), AT_ONCE)])

    def _answered(self, users: pl.DataFrame) -> pl.DataFrame:
        requests = self._requests(users["code"].to_numpy(writable=True))  # compiled loops take no read-only array
        slate = self._funnel(requests, observe=False)
        if slate.degraded and len(users) > 1:  # what fails for one must not cost the others
            return pl.concat([self._answered(users[row]) for row in range(len(users))])
        filling, filled = self._filling(requests, slate)
        return self._rows(users["user_id"].to_list(), slate, filling, filled)

    def _requests(self, codes: Int32) -> Requests:
        batch = len(codes)
        now, surface = np.full(batch, self._plan.now, np.int64), np.full(batch, self._surface, np.int16)
        return replace(self._live.requests(codes, now, self._plan.n, surface), explore=self._plan.explore)

    def _filling(self, requests: Requests, slate: Slate) -> tuple[Filling, Int64]:
        """What fills up the slates that are too short, and the request of each such item."""
        size = np.diff(slate.chosen.offsets)
        filling, owner = Filling.none(), [np.empty(0, np.int64)]
        for request in np.flatnonzero(size < self._plan.n).tolist():
            one, taken = requests.take(request), slate.chosen.of_request(request).item
            found = self._popular(one, self._funnel.filters, self._plan.n - len(taken), taken)
            filling += found
            owner.append(np.full(len(found.item), request, np.int64))
        return filling, np.concatenate(owner)

    def _rows(self, users: list[str], slate: Slate, filling: Filling, filled: Int64) -> pl.DataFrame:
        chosen, ids = slate.chosen, self._live.catalogue.ids.names
        request = np.concatenate([chosen.request, filled])
        order = np.argsort(request, kind="stable")  # the fillers of a request after its own
        request = request[order]
        first = np.searchsorted(request, np.arange(len(users)))
        source = pl.concat([_sources(chosen), _constant([POPULARITY], len(filled), SCHEMA["source"])])
        score: Float32 = np.concatenate([np.asarray(chosen["utility"], np.float32), np.full(len(filled), np.nan)])
        chance: Float32 = np.concatenate([np.asarray(chosen["propensity"], np.float32), np.ones(len(filled))])
        item = np.concatenate([chosen.item, filling.item])[order].tolist()
        notes = "; ".join(slate.degraded) or None
        rows = {
            "user_id": [users[row] for row in request.tolist()],
            "rank": np.arange(len(request)) - first[request] + 1,
            "item_id": [ids[code] for code in item],
            "score": pl.Series(score[order], dtype=pl.Float32, nan_to_null=True),
            "source": source.gather(order),
            "propensity": chance[order],
            "degraded": _constant(notes, len(order), SCHEMA["degraded"]),
            "model_version": _constant(self._plan.model_version, len(order), SCHEMA["model_version"]),
            "made_at": _constant(self._made_at, len(order), SCHEMA["made_at"]),
        }
        return pl.DataFrame(rows, schema=SCHEMA)


def _sources(chosen: Candidates) -> pl.Series:
    """The server's lists of sources; rows with the same ones are looked up once."""
    names = [name for name in chosen.columns if name.startswith("score_")]
    bits = np.zeros(len(chosen), np.int64)
    for place, name in enumerate(names):
        bits |= np.isfinite(chosen[name]).astype(np.int64) << place
    _, first, kind = np.unique(bits, return_index=True, return_inverse=True)
    lists = sources_of(chosen.take(first, np.array([0, len(first)], np.int64)))
    return pl.Series(lists, dtype=SCHEMA["source"]).gather(kind)


def _constant(value: object, size: int, dtype: pl.DataType) -> pl.Series:
    return pl.Series([value], dtype=dtype).new_from_index(0, size)
