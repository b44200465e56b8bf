"""The primitives of the state against brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import logs
from upnext.config import FeaturesConfig
from upnext.features.counters import MS_A_DAY, Counters
from upnext.features.histories import HistoryIndex, LastK
from upnext.features.pairs import UserItems
from upnext.features.rates import rate_names
from upnext.features.state import FeatureState


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), size=st.integers(0, 200), k=st.integers(1, 9), cut=st.integers(0, 250))
def test_ring_and_index_agree_and_hold_the_last_k(seed: int, size: int, k: int, cut: int) -> None:
    events = logs.random_events(seed, size)
    ring = LastK(k)
    edges = sorted(np.random.default_rng(seed).integers(0, size + 1, 3).tolist())
    for start, stop in zip([0, *edges], [*edges, size], strict=True):  # any split into appends is the same
        ring.append(events.take(slice(min(start, cut), min(stop, cut))))
    users = np.arange(-1, logs.USERS + 1, dtype=np.int32)
    online = ring.read(users)
    index = HistoryIndex(events, np.arange(size), k).read(users, np.full(len(users), cut))
    for name in ("item", "event", "at", "value"):
        np.testing.assert_array_equal(getattr(online, name), getattr(index, name))
    for row, user in enumerate(users.tolist()):
        expected = [] if user < 0 else events.item[:cut][events.user[:cut] == user][-k:].tolist()
        assert online.item[row][online.item[row] >= 0].tolist() == expected


@settings(max_examples=60)
@given(
    days=st.lists(st.floats(0, 3000), min_size=1, max_size=30).map(sorted),
    half_life=st.floats(0.5, 60),
    later=st.floats(0, 100),
    split=st.integers(0, 30),
)
def test_counters_decay_as_the_formula_says(days: list[float], half_life: float, later: float, split: int) -> None:
    at = (np.array(days) * MS_A_DAY).astype(np.int64)
    now = at[-1:] + int(later * MS_A_DAY)
    row, column, amount = np.zeros(len(at), np.int64), np.zeros(len(at), np.int64), np.ones(len(at))
    whole, parts = Counters(1, (half_life,)), Counters(1, (half_life,))
    whole.add(row, column, amount, at)
    parts.add(row[:split], column[:split], amount[:split], at[:split])
    parts.add(row[split:], column[split:], amount[split:], at[split:])
    expected = np.exp2(-(now - at) / (half_life * MS_A_DAY)).sum()
    found = whole.read(np.array([0]), now)
    np.testing.assert_allclose(found[0, 0, 0], expected, rtol=1e-5, atol=1e-30)
    np.testing.assert_array_equal(found, parts.read(np.array([0]), now))
    assert whole.read(np.array([-1, 7]), np.repeat(now, 2)).sum() == 0


def test_user_items_is_a_set_however_it_was_added() -> None:
    random = np.random.default_rng(0)
    user, item = random.integers(0, 5, 10_000).astype(np.int32), random.integers(0, 900, 10_000).astype(np.int32)
    pairs = UserItems()
    pairs.add(user[:9000], item[:9000])
    pairs.add(user[9000:], item[9000:])
    for who in range(5):
        np.testing.assert_array_equal(pairs(who), np.unique(item[user == who]))
    assert len(pairs(-1)) == len(pairs(77)) == 0


def test_what_a_user_just_did_counts_at_once_and_shared_counters_at_the_tick() -> None:
    state = FeatureState(FeaturesConfig(tick_seconds=60), logs.roles(), logs.catalogue())
    events = logs.random_events(5, 40, span_ms=1000)
    state.apply(events)
    now = np.array([int(events.received_at[-1]) + 1])
    acted, shown = state.histories(np.array([2], np.int32))
    assert (acted.item >= 0).sum() + (shown.item >= 0).sum() == (events.user == 2).sum()
    item, row = np.arange(logs.ITEMS, dtype=np.int32), np.zeros(logs.ITEMS, np.int64)
    state.advance(int(now[0]))
    shown = rate_names(tuple(state.roles.tasks)).index("log_impression")
    before = state.read(item, row, np.array([2], np.int32), now).item[:, shown]
    state.advance(int(now[0]) + 60_000)
    after = state.read(item, row, np.array([2], np.int32), now + 60_000).item[:, shown]
    assert (before == 0).all()
    assert after.sum() > 0
    assert state.impressions(item).sum() == (events.type[np.isin(events.type, [0, 4])] >= 0).sum()


def test_it_knows_since_when_this_system_serves() -> None:
    state = FeatureState(FeaturesConfig(), logs.roles(), logs.catalogue())
    events = logs.random_events(5, 40)
    state.apply(events)  # all from elsewhere
    assert state.served_since is None
    impressions = np.flatnonzero(events.type == logs.TYPES.index("impression"))
    first, second = impressions[1], impressions[3]
    as_of = np.full(len(events), -1)
    as_of[[first, second]] = 7
    state.apply(replace(events, as_of=as_of))
    state.apply(replace(events, as_of=np.full(len(events), 7), received_at=events.received_at + 99))
    assert state.served_since == events.received_at[first]
    again = FeatureState(FeaturesConfig(), logs.roles(), logs.catalogue())
    again.load(state.dump())
    assert again.served_since == state.served_since
