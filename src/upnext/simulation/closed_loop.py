"""A service in the world: people come at given moments, it answers, they choose, and it hears of that in time.

Moments, users and the dice of every choice are the same whoever serves: two services differ by what they show alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from upnext.simulation.choice import respond
from upnext.simulation.frames import event_frame
from upnext.simulation.log import Played
from upnext.simulation.sessions import draw_sessions
from upnext.simulation.world import DAY_MS, World, examination
from upnext.types import Float32, Float64, Int32, Int64, ragged_places


class Service(Protocol):
    """What is tried: it knows items by their rows in the world, and no more of the truth than the catalogue says."""

    def publish(self, items: Int32, now: int) -> None:
        """These items are out now, Unix ms."""

    def slates(self, users: Int32, at: Int64, k: int) -> Int32:
        """k items for each of ``users [n]`` at ``at [n]``, -1 = empty: ``[n, k]``."""

    def hear(self, events: pl.DataFrame, now: int) -> None:
        """Events in the columns of EVENT_SCHEMA, all that happened since the last call and before ``now``."""


@dataclass(frozen=True)
class Visits:
    """One slate each, by time; a user comes at most once in ``step_ms``."""

    user: Int32  # [V]
    at: Int64  # [V]
    session: Int64  # [V]
    step_ms: int

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class Outcome:
    """What V visits brought, in their order."""

    slate: Int32  # [V, k], -1 = empty
    seconds: Float32  # [V], watched
    expected: Float64  # [V], seconds that the truth expects of these slates: the same without the dice


def draw_visits(world: World, begin: int, days: int, slates_a_day: int, step_ms: int) -> Visits:
    """Visits of ``days`` days from ``begin`` on, by the world's rhythm: a session's slates are a step apart."""
    sessions = draw_sessions(
        world, begin, begin + days * DAY_MS, days * slates_a_day, world.config.stream("closed loop visits")
    )
    session = np.repeat(np.arange(len(sessions)), sessions.slates)
    at = sessions.start_at[session] + ragged_places(sessions.slates) * step_ms
    user = sessions.user[session]
    _, first = np.unique((at - begin) // step_ms * len(world.activity) + user, return_index=True)
    first = first[at[first] < begin + days * DAY_MS]
    first = first[np.argsort(at[first], kind="stable")]
    return Visits(user[first], at[first], session[first], step_ms)


def run(
    world: World, visits: Visits, service: Service, begin: int, end: int, at_midnight: Callable[[int], None]
) -> Outcome:
    """Play ``[begin, end)`` in steps: publish, answer, choose, tell. ``at_midnight`` is called before each new day.

    What happens in a step is heard at its end, and later where it happened later (the end of a long watch).
    """
    k = world.config.slate_size
    slates, seconds, expected = np.full((len(visits), k), -1, np.int32), np.zeros(len(visits), np.float32), []
    waiting: list[pl.DataFrame] = []
    out = int(np.searchsorted(world.published_at, begin, side="right"))
    for number, start in enumerate(range(begin, end, visits.step_ms)):
        stop = start + visits.step_ms
        if number and (start - begin) % DAY_MS == 0:
            at_midnight(start)
        published = int(np.searchsorted(world.published_at, start, side="right"))
        if published > out:
            service.publish(np.arange(out, published, dtype=np.int32), start)
            out = published
        rows = slice(*np.searchsorted(visits.at, [start, stop]).tolist())
        user, at = visits.user[rows], visits.at[rows]
        if len(user):
            slate = service.slates(user, at, k)
            response = respond(world, user, slate, at, world.config.stream(f"closed loop choices {number}"))
            slates[rows], seconds[rows] = slate, response.seconds.sum(axis=1)
            expected.append(expected_seconds(world, user, slate, at))
            waiting.append(_events(Played(user, at, visits.session[rows], slate, response), world, number))
        waiting = _tell(service, waiting, stop)
    return Outcome(slates, seconds, np.concatenate([*expected, np.empty(0)]))


def expected_seconds(world: World, users: Int32, slates: Int32, at: Int64) -> Float64:
    """Mean seconds that users ``[n]`` watch of slates ``[n, k]`` shown at ``at [n]``: ``[n]``."""
    items = np.maximum(slates, 0)
    utility = world.utility(users, items, at)
    seconds = world.p_click(utility) * world.expected_watch(utility, items) * (slates >= 0)
    return np.asarray(seconds.astype(np.float64) @ examination(world.config)[: slates.shape[1]])


def _events(played: Played, world: World, number: int) -> pl.DataFrame:
    """Events of one step; recommendations are named by step, so that no two share a name."""
    named = pl.concat_str(pl.lit(f"{number}-"), pl.col("recommendation_id")).alias("recommendation_id")
    return event_frame(played, world.config).with_columns(named)


def _tell(service: Service, waiting: list[pl.DataFrame], now: int) -> list[pl.DataFrame]:
    """Hand over what has happened before ``now``; what is left waits on."""
    if not waiting:
        return []
    known = pl.concat(waiting)
    due = known.filter(pl.col("happened_at") < now)
    if len(due):
        service.hear(due.sort("happened_at", maintain_order=True), now)
    left = known.filter(pl.col("happened_at") >= now)
    return [left] if len(left) else []


def first_impressions(world: World, visits: Visits, outcome: Outcome, within_ms: int) -> Int64:
    """How often each item was shown in the first ``within_ms`` after its publication, ``[I]``."""
    shown = outcome.slate
    real = shown >= 0
    early = visits.at[:, None] < world.published_at[np.maximum(shown, 0)] + within_ms
    return np.bincount(shown[real & early], minlength=world.config.items)
