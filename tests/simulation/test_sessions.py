"""When people come: how many slates, when, and after their arrival."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.simulation.creation import make_world
from upnext.simulation.sessions import HOUR_MS, draw_sessions, intensity
from upnext.simulation.world import WorldConfig


@given(slates=st.integers(0, 300), users=st.integers(1, 20), days=st.integers(1, 5), seed=st.integers(0, 500))
@settings(max_examples=40)
def test_sessions_add_up_and_keep_to_the_period(slates: int, users: int, days: int, seed: int) -> None:
    config = WorldConfig(items=100, users=users, impressions=10, days=days, seed=seed, topics=3)
    world = make_world(config)
    sessions = draw_sessions(world, config.start_at, config.end_at, slates, np.random.default_rng(seed))
    assert sessions.slates.sum() == slates
    assert (sessions.slates > 0).all()
    assert (sessions.start_at >= config.start_at).all()
    assert (sessions.start_at <= config.end_at).all()
    assert (sessions.start_at >= world.arrived_at[sessions.user] - 1).all()
    np.testing.assert_array_equal(sessions.hour, (sessions.start_at - config.start_at) // HOUR_MS)
    assert (np.diff(sessions.hour) >= 0).all()
    pairs = set(zip(sessions.user.tolist(), sessions.hour.tolist(), strict=True))
    assert len(pairs) == len(sessions)


def test_nobody_comes_before_arriving() -> None:
    config = WorldConfig(items=100, users=50, impressions=10, days=5, topics=3)
    world = make_world(config)
    late = np.flatnonzero(world.arrived_at > config.start_at)
    assert len(late) > 0
    begin = config.start_at - 5 * 24 * HOUR_MS
    sessions = draw_sessions(world, begin, config.start_at, 500, np.random.default_rng(0))
    assert len(sessions) > 0
    assert not np.isin(sessions.user, late).any()


def test_an_average_hour_is_as_busy_as_one() -> None:
    busy = intensity(np.arange(24.0))
    assert busy.mean() == pytest.approx(1)
    assert busy.argmax() == 20
    assert busy.min() > 0
