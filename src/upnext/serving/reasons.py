"""Why each item is in the answer, in short sentences for people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from upnext.candidates.because_you_watched import BecauseYouWatched
from upnext.candidates.history import visits
from upnext.live import Live
from upnext.serving.funnels import Funnels
from upnext.serving.question import Asked
from upnext.types import NO_USER, Bool, Candidates, History, Int32, Ragged

SCORE = "score_"
RANKED = "rated highly by the ranking model"
_VISITS = 12  # the latest, among which a "because" is looked for


def sources_of(chosen: Candidates) -> list[list[str]]:
    """The sources that proposed each row."""
    names = [name for name in chosen.columns if name.startswith(SCORE)]
    proposed = [np.isfinite(chosen[name]).tolist() for name in names]
    short = [name.removeprefix(SCORE) for name in names]
    return [[name for name, by in zip(short, row, strict=True) if by] for row in zip(*proposed, strict=True)] or [
        [] for _ in range(len(chosen))
    ]


def reasons(asked: Asked, chosen: Candidates, live: Live, funnels: Funnels) -> list[list[str]]:
    """A few sentences a row, the most telling first."""
    because = _because(asked, chosen, live, funnels)
    explored = (np.asarray(chosen["propensity"], np.float32) < 1).tolist()
    titles = live.catalogue().title
    history = bool((asked.requests.acted.item >= 0).any())
    found = []
    rows = zip(sources_of(chosen), because.tolist(), explored, _close(chosen).tolist(), strict=True)
    for sources, cause, drawn, close in rows:
        why = ["explored: few people have seen it"] if drawn else []
        if "watch_again" in sources:
            why.append("you watched this before")
        if cause >= 0:
            title = titles[cause] or live.catalogue.ids.names[cause]
            why.append(f"goes with {title}" if asked.anchored else f"because you watched {title}")
        if close:
            why.append(_closeness(asked.anchored, history))
        if "als" in sources:
            why.append("people who like these like it too" if asked.anchored else "people with your taste like it")
        if "favourite_topics" in sources:
            why.append("of a category or an author you turn to most")
        if "trending" in sources:
            why.append("trending now")
        if "new_items" in sources:
            why.append("new")
        found.append(why or [RANKED])
    return found


def _close(chosen: Candidates) -> Bool:
    """Whether the two-tower proposed the row and finds it alike: its scores are cosines."""
    if f"{SCORE}two_tower" not in chosen:
        return np.zeros(len(chosen), np.bool_)
    return np.asarray(chosen[f"{SCORE}two_tower"], np.float32) > 0  # NaN, not proposed, is not


def _closeness(anchored: bool, history: bool) -> str:
    if anchored:
        return "similar in content and audience"
    return "close to what you watch" if history else "fits your profile"


def _because(asked: Asked, chosen: Candidates, live: Live, funnels: Funnels) -> Int32:
    """The item of the history (or anchor) that speaks most for each row, -1 where none does, ``[N]``."""
    nothing = np.full(len(chosen), -1, np.int32)
    source = _source(funnels)
    if source is None or f"{SCORE}{source.name}" not in chosen.columns:
        return nothing
    rows = np.flatnonzero(np.isfinite(chosen[f"{SCORE}{source.name}"]))
    seen = visits(asked.requests, live.roles.weight, live.roles.least).item[-_VISITS:]
    if not len(rows) or not len(seen):
        return nothing
    score = _scores(source, asked, seen, chosen.item[rows])
    decay = live.config.candidates.because_you_watched.history_decay ** np.arange(len(seen) - 1, -1, -1.0)
    share = np.expm1(score) * decay[:, None]  # a score is log1p of what is summed over the history
    nothing[rows] = np.where(share.max(axis=0) > 0, seen[share.argmax(axis=0)], -1)
    return nothing


def _scores(
    source: BecauseYouWatched, asked: Asked, seen: Int32, items: Int32
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """How much each visit alone speaks for each item, ``[V, N]``: one batch with a request a visit."""
    batch = len(seen)
    alone = replace(
        asked.requests,
        user=np.full(batch, NO_USER, np.int32),
        now=np.repeat(asked.requests.now, batch),
        surface=np.repeat(asked.requests.surface, batch),
        acted=History.empty(batch, 1),
        shown=History.empty(batch, 1),
        exclude=Ragged.empty(batch),
        anchors=Ragged(seen, np.arange(batch + 1)),
    )
    table = Candidates(np.tile(items, batch), np.arange(batch + 1) * len(items))
    return source.score(alone, table).reshape(batch, len(items))


def _source(funnels: Funnels) -> BecauseYouWatched | None:
    found = (source for source, _ in funnels.whole.sources if isinstance(source, BecauseYouWatched))
    return next(found, None)
