"""What a caller wants, in external ids, and what the funnel is asked for it, in codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from upnext.config import Config
from upnext.events.schema import nearest
from upnext.features.roles import EventRoles
from upnext.live import Live, with_session
from upnext.packed import PackedIds
from upnext.serving.problems import Invalid, shown
from upnext.types import NO_USER, Int32, Ragged, Requests

_NAMED = 5  # unknown ids that a note names


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What should this person see next? A ``user_id``, or a bare list of recent items, or nobody in particular."""

    user_id: str | None = None
    recent_items: Sequence[str] | None = None  # oldest first
    n: int = 10
    surface: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)
    exclude_ids: Sequence[str] = ()
    categories: Sequence[str] | None = None
    diversity: float | None = None
    explore: float | None = None
    items: Sequence[str] = ()  # anchors
    weights: Mapping[str, float] | None = None
    explain: bool = False
    deadline_ms: float | None = None
    log_impressions: bool = True
    allow_watched: bool = False

    def check(self, config: Config) -> None:
        """Raises Invalid for what the types cannot say."""
        tasks, most = config.ranking.tasks, config.serving.max_k
        if not 1 <= self.n <= most:
            raise Invalid(f"n is {self.n}; it must be 1 to {most}", "n", "serving.max_k allows more")
        if self.user_id is not None and self.recent_items is not None:
            raise Invalid(
                "user_id and recent_items were both given",
                "recent_items",
                "Send one of them; what a known user just did is sent as events",
            )
        for task in self.weights or ():
            if task not in tasks:
                raise Invalid(f"weights names the unknown task {shown(task)}{nearest(task, tasks)}", f"weights.{task}")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question as the funnel takes it. ``as_of`` is the log offset that its histories have seen."""

    question: Question
    requests: Requests
    as_of: int
    notes: tuple[str, ...]

    @property
    def anchored(self) -> bool:
        return len(self.requests.anchors.item) > 0

    @property
    def basis(self) -> str:
        """What the answer rests on, in words."""
        known = int(np.count_nonzero(self.requests.acted.item[0] >= 0))
        last = "the last " if known == self.requests.acted.item.shape[1] else ""
        if self.anchored:
            return f"{_count(len(self.requests.anchors.item), 'named item')}" + (
                f" and a history of {last}{_count(known, 'event')}" if known else ""
            )
        if self.question.recent_items is not None:
            return (
                f"session of {_count(known, 'item')}" if known else "session of no known items: popular and new items"
            )
        if self.question.user_id is None:
            return "nobody in particular: popular and new items"
        if known:
            return f"history of {last}{_count(known, 'event')}"
        if self.requests.user[0] == NO_USER:
            return "unknown user: popular and new items"
        return "no history: popular and new items, and what is known of the user"


def ask(question: Question, live: Live, now: int, also_exclude: Sequence[int] = ()) -> Asked:
    """Translate external ids into codes and read the histories; ids that nobody knows are left out and noted.

    The caller keeps the views from changing meanwhile, so that ``as_of`` and the histories agree.
    """
    notes: list[str] = []
    ids = live.catalogue.ids
    excluded = _codes(ids, question.exclude_ids, "exclude_ids", notes).tolist()
    anchors = _codes(ids, question.items, "items", notes)
    session = _codes(ids, question.recent_items or (), "recent_items", notes)
    categories = None if question.categories is None else _categories(live, question.categories, notes)
    user = NO_USER if question.user_id is None else live.users.ids.code(question.user_id)
    requests = live.requests(
        np.array([user], np.int32),
        np.array([now], np.int64),
        question.n,
        np.array([max(live.surfaces.code(question.surface), 0)], np.int16),
        Ragged.of([[*excluded, *also_exclude]]),
        Ragged.of([anchors.tolist()]),
    )
    if question.recent_items is not None:
        requests = with_session(requests, session, session_event(live.roles))
    requests = replace(
        requests,
        diversity=question.diversity,
        explore=question.explore,
        value_weights=question.weights,
        categories=categories,
        allow_watched=question.allow_watched,
    )
    return Asked(question, requests, live.offset, tuple(notes))


def session_event(roles: EventRoles) -> int:
    """The event type that the items of a bare session count as: a click, or the mildest that speaks for an item."""
    if (click := roles.code("click")) >= 0 and roles.weight[click] > 0:
        return click
    positive = [code for code in range(len(roles.names)) if roles.weight[code] > 0]
    return min(positive, key=lambda code: float(roles.weight[code]), default=-1)


def _codes(ids: PackedIds, names: Sequence[str], field: str, notes: list[str]) -> Int32:
    if not names:
        return np.empty(0, np.int32)
    codes = ids.encode(names)
    if (codes < 0).any():
        unknown = [name for name, code in zip(names, codes.tolist(), strict=True) if code < 0]
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        listed = ", ".join(shown(name) for name in unknown[:_NAMED])
        notes.append(f"{field}: {_count(len(unknown), 'unknown item')} ignored: {listed}{more}")
    return codes[codes >= 0]


def _categories(live: Live, names: Sequence[str], notes: list[str]) -> Int32:
    unknown = [name for name in names if name not in live.catalogue.categories]
    if unknown:
        listed = ", ".join(shown(name) for name in unknown[:_NAMED])
        notes.append(f"filter.categories: no item has {listed}")
    return live.catalogue.category_codes(names)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
