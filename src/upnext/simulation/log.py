"""Plays the days of a world: people come, the log policy answers, they choose, the policy learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.simulation.choice import Response, respond
from upnext.simulation.log_policy import LogPolicy
from upnext.simulation.sessions import HOUR_MS, Sessions, draw_sessions
from upnext.simulation.world import DAY_MS, World
from upnext.training.progress import Progress, Step
from upnext.types import Int32, Int64

WARMUP_DAYS = 7
BREAK_MS = 20_000  # mean pause between two slates of a session


@dataclass(frozen=True)
class Played:
    """All slates in the order they were answered: n slates of k items."""

    user: Int32  # [n]
    at: Int64  # [n]
    session: Int64  # [n]
    slate: Int32  # [n, k], -1 = empty slot
    response: Response


def play(world: World, progress: Progress) -> Played:
    """The whole log of the world's days as slates and what came of them.

    The service is older than its log: some days before it are played too, from which only the policy learns.
    """
    config = world.config
    policy = LogPolicy(main_topic(world), world.picked, config.topics, config.slate_size)
    slates = -(-config.impressions // config.slate_size)
    warmup_days = min(WARMUP_DAYS, config.days)
    before = slates * warmup_days // config.days
    warmup_at = config.start_at - warmup_days * DAY_MS
    with progress.track("simulate the log", before + slates) as step:
        _play_days(world, policy, warmup_at, config.start_at, before, "warm-up", step)
        policy.forget_shown()
        return _concat(_play_days(world, policy, config.start_at, config.end_at, slates, "log", step))


def _play_days(
    world: World, policy: LogPolicy, begin: int, end: int, slates: int, part: str, step: Step
) -> list[Played]:
    rng = world.config.stream(part)
    sessions = draw_sessions(world, begin, end, slates, rng)
    bounds = np.flatnonzero(np.diff(sessions.hour, prepend=-1, append=-1))
    passed, parts = 0, []
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        hour = int(sessions.hour[first])
        opened = begin + hour * HOUR_MS
        policy.refresh(int(np.searchsorted(world.published_at, opened, side="right")), hour - passed)
        passed = hour
        parts += _play_hour(world, policy, sessions, slice(first, last), rng)
        step(int(sessions.slates[first:last].sum()), "")
    return parts


def _play_hour(
    world: World, policy: LogPolicy, sessions: Sessions, rows: slice, rng: np.random.Generator
) -> list[Played]:
    """The sessions that start in one hour, round by round: everybody's first slate, then the second..."""
    clock = sessions.start_at[rows].copy()
    wanted, users = sessions.slates[rows], sessions.user[rows]
    session = np.arange(rows.start, rows.stop)
    parts = []
    for turn in range(int(wanted.max())):
        active = np.flatnonzero(wanted > turn)
        user, at = users[active], clock[active]
        slate = policy.slates(user, rng)
        response = respond(world, user, slate, at, rng)
        policy.learn(user, slate, response.clicked)
        parts.append(Played(user, at, session[active], slate, response))
        pause = rng.exponential(BREAK_MS, len(active)).astype(np.int64) + 1000
        clock[active] = np.maximum(at + 1000 * world.config.slate_size, response.ends_at) + pause
    return parts


def main_topic(world: World) -> Int32:
    """The topic with the largest share of each item, ``[I]``."""
    share = world.item_topic.reshape(-1, world.config.topics, world.config.subtopics).sum(axis=2)
    return np.asarray(share.argmax(axis=1), np.int32)


def _concat(parts: list[Played]) -> Played:
    def joined(name: str) -> Int64:
        return np.concatenate([getattr(part, name) for part in parts])

    def answered(name: str) -> Int64:
        return np.concatenate([getattr(part.response, name) for part in parts])

    columns = (answered(name) for name in Response.__dataclass_fields__)
    response = Response(*columns)  # type: ignore[arg-type]
    return Played(joined("user"), joined("at"), joined("session"), joined("slate"), response)  # type: ignore[arg-type]
