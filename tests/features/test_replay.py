"""The two promises of the features: replay equals serving bit for bit, and nothing later than the moment counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import logs
from upnext.config import Config, FeaturesConfig
from upnext.features.hydrate import StateFeatures
from upnext.features.replay import Moments, Replay, cuts
from upnext.features.state import FeatureState
from upnext.types import Candidates, Events, Float32, Ragged, Requests

CONFIG = Config(features=FeaturesConfig(history_size=5, tick_seconds=30, half_lives_days=(0.01, 1.0)))


def served(events: Events, asked: list[tuple[int, int]]) -> tuple[list[Float32], Moments]:
    """Serve every item to a user after each of the given log positions, as a server would, one request at a time."""
    catalogue, roles = logs.catalogue(), logs.roles(CONFIG)
    state = FeatureState(CONFIG.features, roles, catalogue)
    hydrator = StateFeatures(CONFIG.features, state, catalogue)
    items = np.arange(logs.ITEMS, dtype=np.int32)
    rows, matrices, now, as_of = 0, [], [], []
    for position, user in asked:
        state.apply(events.take(slice(rows, position)))
        rows = position
        moment = int(events.received_at[position - 1]) + 1
        state.advance(moment)
        users = np.array([user], np.int32)
        acted, shown = state.histories(users)
        requests = Requests(
            users, np.array([moment]), np.zeros(1, np.int16), 10, acted, shown, Ragged.empty(1), Ragged.empty(1)
        )
        matrices.append(hydrator(requests, Candidates(items, np.array([0, len(items)]))))
        now.append(moment)
        as_of.append(position - 1)
    moments = Moments(
        np.array([user for _, user in asked], np.int32),
        np.array(now),
        cuts(events, np.array(now), np.array(as_of)),
        np.tile(items, len(asked)),
        np.arange(len(asked) + 1) * len(items),
    )
    return matrices, moments


positions = st.lists(st.tuples(st.integers(1, 300), st.integers(-1, logs.USERS)), min_size=1, max_size=12).map(sorted)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), asked=positions)
def test_replay_reproduces_the_served_matrix_exactly(seed: int, asked: list[tuple[int, int]]) -> None:
    events = logs.random_events(seed, 300)
    matrices, moments = served(events, asked)
    replayed = Replay(CONFIG.features, logs.roles(CONFIG), logs.catalogue(), events).features(moments)
    np.testing.assert_array_equal(replayed, np.concatenate(matrices))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), asked=positions)
def test_deleting_later_events_changes_nothing(seed: int, asked: list[tuple[int, int]]) -> None:
    events = logs.random_events(seed, 300)
    _, moments = served(events, asked)
    replay = Replay(CONFIG.features, logs.roles(CONFIG), logs.catalogue(), events).features(moments)
    last = int(moments.cut.max())
    shorter = Replay(CONFIG.features, logs.roles(CONFIG), logs.catalogue(), events.take(slice(0, last)))
    np.testing.assert_array_equal(shorter.features(moments), replay)


def test_events_do_change_features_so_the_two_promises_can_fail() -> None:
    events = logs.random_events(1, 300)
    matrices, moments = served(events, [(100, 1), (290, 1)])
    assert np.abs(matrices[0] - matrices[1]).max() > 0.5
    assert np.isfinite(np.concatenate(matrices)).all()
    one_step_late = Replay(CONFIG.features, logs.roles(CONFIG), logs.catalogue(), events)
    late = Moments(moments.user, moments.now + 60_000, moments.cut + 5, moments.item, moments.offsets)
    assert not np.array_equal(one_step_late.features(late), np.concatenate(matrices))


def test_events_of_the_same_millisecond_are_not_prior() -> None:
    events = logs.random_events(3, 50)
    at = events.received_at[20:21]
    cut = cuts(events, at, np.array([-1]))
    assert (events.received_at[: cut[0]] < at).all()
    assert (events.received_at[cut[0] :] >= at).all()


@pytest.mark.parametrize("as_of", [-1, 0, 30, 49])
def test_a_logged_offset_decides_the_cut(as_of: int) -> None:
    events = logs.random_events(3, 50)
    cut = cuts(events, np.array([int(events.received_at[25])]), np.array([as_of]))
    assert cut[0] == (as_of + 1 if as_of >= 0 else np.searchsorted(events.received_at, events.received_at[25]))
