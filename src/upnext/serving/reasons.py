"""Why each item is in the answer, in short sentences for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upnext.candidates.because_you_watched import BecauseYouWatched
from upnext.live import Live
from upnext.serving.funnels import Funnels
from upnext.serving.question import Asked
from upnext.types import NO_ITEM, Bool, Candidates, Int32

SCORE = "score_"
RANKED = "rated highly by the ranking model"


def sources_of(chosen: Candidates) -> list[list[str]]:
    """The sources that proposed each row."""
    names = [name for name in chosen.columns if name.startswith(SCORE)]
    short = [name.removeprefix(SCORE) for name in names]
    found: list[list[str]] = [[] for _ in range(len(chosen))]
    if names:
        for row, source in zip(*np.isfinite([chosen[name] for name in names]).T.nonzero(), strict=True):
            found[row].append(short[source])
    return found


def reasons(
    asked: Asked, chosen: Candidates, proposed: Sequence[Sequence[str]], live: Live, funnels: Funnels
) -> list[list[str]]:
    """A few sentences a row, the most telling first. ``proposed`` are the sources of each row, of ``sources_of``."""
    because = _because(asked, chosen, funnels)
    explored = (np.asarray(chosen["propensity"], np.float32) < 1).tolist()
    titles = live.catalogue().title
    history = bool((asked.requests.acted.item >= 0).any())
    found = []
    rows = zip(proposed, because.tolist(), explored, _close(chosen).tolist(), strict=True)
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


def _because(asked: Asked, chosen: Candidates, funnels: Funnels) -> Int32:
    """The item of the history (or anchor) that speaks most for each row, -1 where none does, ``[N]``."""
    found = np.full(len(chosen), NO_ITEM, np.int32)
    source = _source(funnels)
    if source is None or f"{SCORE}{source.name}" not in chosen.columns:
        return found
    rows = np.flatnonzero(np.isfinite(chosen[f"{SCORE}{source.name}"]))
    found[rows] = source.because(asked.requests, chosen.item[rows])
    return found


def _source(funnels: Funnels) -> BecauseYouWatched | None:
    found = (source for source, _ in funnels.whole.sources if isinstance(source, BecauseYouWatched))
    return next(found, None)
