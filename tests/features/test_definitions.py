"""Every feature against its definition in plain Python, from the events themselves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import logs
from upnext.config import Config, FeaturesConfig
from upnext.features.definitions import (
    CONTEXT,
    ITEM_FACTS,
    USER_ACTIVITY,
    Inputs,
    compute,
    feature_names,
    groups,
    request_features,
)
from upnext.features.past import NEVER_HOURS
from upnext.features.rates import PRIOR_IMPRESSIONS
from upnext.features.state import STALE_MS, FeatureState
from upnext.types import Catalogue, Events, Float32

HOUR, DAY = 3_600_000, 86_400_000
CONFIG = FeaturesConfig(history_size=5, tick_seconds=30, half_lives_days=(0.01, 1.0))
ROLES = logs.roles()
NAMES = feature_names(CONFIG, ROLES)
GROUPS = groups(CONFIG, ROLES)
IMPRESSION, CLICK, WATCH, LIKE, SEEN, HIDE = range(len(logs.TYPES))
EVERY_ITEM = np.arange(logs.ITEMS, dtype=np.int32)


def known(events: Events, users: list[int], now: int, items: list[list[int]] | None = None) -> Inputs:
    """What is known at ``now``, for each user with each item (or those named)."""
    catalogue = logs.catalogue()
    state = FeatureState(CONFIG, ROLES, catalogue)
    state.apply(events)
    state.advance(now)
    lists = [EVERY_ITEM.tolist() for _ in users] if items is None else items
    item = np.array([code for row in lists for code in row], np.int32)
    row = np.repeat(np.arange(len(users)), [len(codes) for codes in lists])
    codes, moments = np.array(users, np.int32), np.full(len(users), now)
    acted, shown = state.histories(codes)
    read = state.read(item, row, codes, moments)
    return Inputs(item, row, moments, acted, shown, read, catalogue(), ROLES)


def columns(inputs: Inputs) -> dict[str, Float32]:
    return dict(zip(NAMES, compute(inputs, GROUPS).T, strict=True))


def test_names_are_distinct_and_one_a_column() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert {group.scope for group in GROUPS} == {"item", "user", "user_item", "context"}
    assert all(math.isfinite(group.default) for group in GROUPS)
    inputs = known(logs.random_events(0, 100), [1, 2], logs.START + HOUR)
    for group in GROUPS:
        assert group.function(inputs).shape == (2 if group.of_request else len(inputs.item), len(group.names))
    assert [group.of_request for group in GROUPS] == sorted((group.of_request for group in GROUPS), reverse=True)
    assert NAMES[request_features(GROUPS) - 1 :][:2] == (CONTEXT[-1], "item_log_impression_0.01d")
    assert compute(inputs, GROUPS).shape == (2 * logs.ITEMS, len(NAMES))
    assert compute(inputs, GROUPS).dtype == np.float32


def test_a_task_of_ones_own_gets_features_of_its_own() -> None:
    more = Config.model_validate({"events": {"types": {"save": {}}}, "ranking": {"tasks": {"save": {"event": "save"}}}})
    names = set(feature_names(CONFIG, logs.roles(more))) - set(NAMES)
    scopes = ("item", "author", "category", "user")
    assert names == {
        f"{scope}_save_{rate}_{life}"
        for scope in scopes
        for rate in ("rate", "exposed_rate")
        for life in ("0.01d", "1d")
    }


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31), size=st.integers(0, 150), user=st.integers(-1, logs.USERS), minutes=st.integers(0, 20)
)
def test_the_past_of_a_user_with_an_item_its_author_and_its_category(
    seed: int, size: int, user: int, minutes: int
) -> None:
    events = logs.random_events(seed, size)
    now = logs.START + minutes * 60_000
    events = events.take(events.received_at < now)
    inputs = known(events, [user], now)
    found, catalogue = columns(inputs), inputs.catalogue
    mine = [n for n in range(len(events)) if user >= 0 and events.user[n] == user]
    shown = [n for n in mine if events.type[n] in (IMPRESSION, SEEN)][-5:]
    acted = [n for n in mine if events.type[n] not in (IMPRESSION, SEEN)][-5:]
    groups_of = {"item": EVERY_ITEM, "author": catalogue.author, "category": catalogue.category[:, 0]}
    for scope, group in groups_of.items():
        for item in EVERY_ITEM.tolist():
            same = [[n for n in rows if group[events.item[n]] == group[item] >= 0] for rows in (shown, acted)]
            liked = sum(preference(events, n) for n in same[1])
            seconds = sum(float(np.nan_to_num(events.value[n])) for n in same[1])
            expected = {
                "shown": math.log1p(len(same[0])),
                "acted": math.log1p(len(same[1])),
                "preference": math.copysign(math.log1p(abs(liked)), liked),
                "taken": liked / (len(same[0]) + 2),
                "watch": math.log1p(seconds / max(len(same[1]), 1)),
                "hours_since_shown": log_hours(events, same[0], now),
                "hours_since_acted": log_hours(events, same[1], now),
            }
            for name, value in expected.items():
                assert found[f"same_{scope}_{name}"][item] == pytest.approx(value, rel=1e-4, abs=1e-6), (scope, name)
    watched = [float(events.value[n]) for n in acted if events.value[n] > 0]
    recent = [[n for n in rows if now - events.received_at[n] < HOUR / 2] for rows in (acted, shown)]
    activity = {
        "user_log_acted": math.log1p(len(acted)),
        "user_log_shown": math.log1p(len(shown)),
        "user_hours_since_acted": log_hours(events, acted, now),
        "user_hours_since_shown": log_hours(events, shown, now),
        "user_acted_30min": math.log1p(len(recent[0])),
        "user_shown_30min": math.log1p(len(recent[1])),
        "user_mean_watch": math.log1p(sum(watched) / max(len(watched), 1)),
        "user_positive_share": sum(preference(events, n) > 0 for n in acted) / max(len(acted), 1),
    }
    assert tuple(activity) == USER_ACTIVITY
    for name, value in activity.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def preference(events: Events, row: int) -> float:
    short = events.type[row] == WATCH and events.value[row] < 10
    return 0.0 if short else {CLICK: 1.0, WATCH: 1.0, LIKE: 2.0, HIDE: -1.0}.get(int(events.type[row]), 0.0)


def log_hours(events: Events, rows: list[int], now: int) -> float:
    return math.log1p((now - int(events.received_at[rows[-1]])) / HOUR if rows else NEVER_HOURS)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), size=st.integers(0, 120), later=st.sampled_from([0, 20_000, HOUR, 3 * DAY]))
def test_counts_and_rates_of_items_authors_categories_and_users(seed: int, size: int, later: int) -> None:
    events = logs.random_events(seed, size)
    now = logs.START + 600_000 + later
    inputs = known(events, [2], now)
    found, catalogue = columns(inputs), inputs.catalogue
    closed = now // 30_000 * 30_000
    counted = events.take(events.received_at < closed)
    latest = int(counted.received_at.max(initial=0))
    clock = min(closed, latest // 30_000 * 30_000 + STALE_MS)  # a log that ended stops ageing
    author, category = catalogue.author[counted.item], catalogue.category[counted.item, 0]
    for life, days in (("0.01d", 0.01), ("1d", 1.0)):
        decay = np.exp2(-(clock - counted.received_at) / (days * DAY))
        overall = columns_of(counted, decay)
        for item in range(0, logs.ITEMS, 5):
            of = {
                "item": counted.item == item,
                "author": (author == catalogue.author[item]) & (author >= 0),
                "category": (category == catalogue.category[item, 0]) & (category >= 0),
                "user": counted.user == 2,
            }
            for scope, mask in of.items():
                counts = columns_of(counted.take(mask), decay[mask])
                for name, value in rates(counts, overall).items():
                    expected = pytest.approx(math.log1p(value), rel=1e-3, abs=1e-5)
                    assert found[f"{scope}_{name}_{life}"][item] == expected, (scope, name, life)


def columns_of(events: Events, decay: np.ndarray[tuple[int], np.dtype[np.float64]]) -> dict[str, float]:
    """Decayed counts, of every kind that is counted."""
    liked = np.array([preference(events, n) > 0 for n in range(len(events))], bool)
    of = {
        "impression": events.type == IMPRESSION,
        "exposed": np.isin(events.type, [IMPRESSION, SEEN]),
        "positive": liked,
        "click": events.type == CLICK,
        "like": events.type == LIKE,
    }
    counts = {name: float(decay[mask].sum()) for name, mask in of.items()}
    watch = events.type == WATCH
    counts["watch"] = float((decay[watch] * np.clip(events.value[watch], 0, 3600)).sum())
    return {**counts, "share": 0.0, "long_view": 0.0}


def rates(counts: dict[str, float], overall: dict[str, float]) -> dict[str, float]:
    found = {f"log_{name}": counts[name] for name in ("impression", "exposed", "positive")}
    for task in ROLES.tasks:
        for name, seen in ((f"{task}_rate", "impression"), (f"{task}_exposed_rate", "exposed")):
            prior = (overall[task] + 0.1) / (overall[seen] + 10)
            found[name] = (counts[task] + PRIOR_IMPRESSIONS * prior) / (counts[seen] + PRIOR_IMPRESSIONS)
    return found


def test_what_is_known_of_an_item() -> None:
    events, now = logs.random_events(0, 80), logs.START + HOUR
    found, catalogue = columns(known(events, [1], now)), logs.catalogue()()
    assert len(ITEM_FACTS) == 4
    for item in EVERY_ITEM.tolist():
        published, duration = int(catalogue.published_at[item]), float(catalogue.duration[item])
        age = (now - published) / HOUR if published else NEVER_HOURS
        assert found["item_age_hours"][item] == pytest.approx(math.log1p(age), rel=1e-5)
        assert found["item_age_known"][item] == (published > 0)
        assert found["item_duration_known"][item] == math.isfinite(duration)
        expected = math.log1p(duration) if math.isfinite(duration) else 0
        assert found["item_log_duration"][item] == pytest.approx(expected, rel=1e-5)
    liked = np.flatnonzero((events.user == 1) & ~np.isin(events.type, [IMPRESSION, SEEN])).tolist()[-5:]
    lengths = [math.log1p(catalogue.duration[events.item[n]]) for n in liked if preference(events, n) > 0]
    lengths = [length for length in lengths if math.isfinite(length)]
    assert lengths
    for item in (1, 2, 3):
        expected = math.log1p(catalogue.duration[item]) - sum(lengths) / len(lengths)
        assert found["duration_against_liked"][item] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert found["duration_against_liked"][0] == 0  # its duration is unknown


def test_the_hour_and_the_weekday_go_round() -> None:
    thursday = 0  # 1970-01-01
    quarter = columns(known(Events.empty(), [1], thursday + 6 * HOUR))
    assert [float(quarter[name][0]) for name in CONTEXT[:2]] == pytest.approx([1, 0], abs=1e-6)
    one, other = (columns(known(Events.empty(), [1], 20_000 * DAY + days * DAY)) for days in (0, 7))
    for name in CONTEXT:
        np.testing.assert_allclose(one[name], other[name], atol=1e-6)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), data=st.data())
def test_a_batch_gets_the_bits_of_its_requests_one_by_one(seed: int, data: st.DataObject) -> None:
    users = data.draw(st.lists(st.integers(-1, logs.USERS), min_size=1, max_size=4))
    lists = [data.draw(st.lists(st.integers(-1, logs.ITEMS + 3), max_size=6)) for _ in users]
    events, now = logs.random_events(seed, 120), logs.START + 600_000
    together = compute(known(events, users, now, lists), GROUPS)
    alone = [compute(known(events, [user], now, [items]), GROUPS) for user, items in zip(users, lists, strict=True)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_strange_values_give_finite_features() -> None:
    events = logs.random_events(0, 60)
    strange = np.resize(np.array([-500, -1, 0, 3e38, np.nan, 1e-30], np.float32), 60)
    inputs = known(replace(events, value=strange), [-1, 0, 1, 2, logs.USERS + 5], logs.START + HOUR)
    assert np.isfinite(compute(inputs, GROUPS)).all()


def test_with_an_empty_catalogue_every_item_is_unknown() -> None:
    inputs = known(logs.random_events(0, 60), [1], logs.START + HOUR)
    nothing = np.empty(0, np.int32)
    empty = Catalogue(
        np.empty(0, np.int64), np.empty(0, np.float32), nothing, nothing.reshape(0, 8), np.empty(0, np.bool_), []
    )
    found = columns(replace(inputs, catalogue=empty))
    assert found["item_age_known"].sum() == found["item_duration_known"].sum() == 0
    assert all(np.isfinite(column).all() for column in found.values())
    assert found["same_item_acted"].sum() > 0
    assert found["same_author_acted"].sum() == 0
