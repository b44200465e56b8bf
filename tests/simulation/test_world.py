"""The truth: what a config may say, how utilities are shaped, and that taste moves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.errors import ConfigError
from upnext.simulation import SimulatedData, WorldConfig
from upnext.simulation.creation import make_world
from upnext.simulation.world import ARRAYS, examination

SMALL = {"items": 60, "users": 12, "impressions": 40, "days": 2, "topics": 4}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("users", 0),
        ("items", 3),
        ("impressions", 0),
        ("days", -1),
        ("seed", -1),
        ("slate_size", 61),
        ("slate_size", 0),
        ("topics", 1),
        ("drift", 1.5),
        ("drift", float("nan")),
        ("position_bias", -0.1),
        ("users", 2.5),
        ("days", True),
        ("impressions", 100_000),
    ],
)
def test_a_bad_field_is_named_with_its_value(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as refused:
        WorldConfig(**{**SMALL, field: value})
    assert str(refused.value).startswith(f"{field}: ")
    assert str(value) in str(refused.value)


def test_same_seed_same_world_other_seed_another() -> None:
    one, same = make_world(WorldConfig(**SMALL)), make_world(WorldConfig(**SMALL))
    other = make_world(WorldConfig(**SMALL, seed=1))
    for name in ARRAYS:
        assert getattr(one, name).tobytes() == getattr(same, name).tobytes(), name
    assert one.title == same.title
    assert one.author_names == same.author_names
    assert one.title != other.title
    assert not np.array_equal(one.quality, other.quality)


def test_utility_of_many_equals_one_by_one(data: SimulatedData) -> None:
    world, rng = data.truth, np.random.default_rng(0)
    users, items = rng.integers(0, 800, 7), rng.integers(0, 2000, 5)
    at = rng.integers(world.config.start_at, world.config.end_at, 7)
    together = world.utility(users, items, at)
    rows = world.utility(users, np.tile(items, (7, 1)), at)
    single = [[world.utility(users[[u]], items[[i]], int(at[u]))[0, 0] for i in range(5)] for u in range(7)]
    np.testing.assert_allclose(together, single, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(rows, single, rtol=1e-4, atol=1e-4)
    assert together.dtype == np.float32


def test_utility_is_the_documented_sum(data: SimulatedData) -> None:
    world, user, item = data.truth, np.array([5]), np.array([17])
    at = world.config.start_at + 1_000_000_000
    taste = world.taste(user, at)[0]
    topic = np.repeat(taste, world.config.subtopics) * world.subtaste[5] @ world.item_topic[17]
    style = world.user_style[5] @ world.item_style[17]
    fresh = np.exp(-max(0, at - world.published_at[17]) / 86_400_000 / 5)
    length = (np.log(world.duration[17]) - world.patience[5]) ** 2
    expected = -6.0 + 5.6 * topic + 0.4 * style + world.quality[17] + 0.6 * fresh - 0.5 * length
    assert world.utility(user, item, at)[0, 0] == pytest.approx(expected, abs=1e-4)


@given(seed=st.integers(0, 1000), low=st.floats(-30, 29), step=st.floats(0.01, 20))
@settings(max_examples=25)
def test_more_utility_never_means_less_of_anything(seed: int, low: float, step: float) -> None:
    world = make_world(WorldConfig(**SMALL, seed=seed))
    items = np.arange(60)
    worse, better = np.full(60, low, np.float32), np.full(60, low + step, np.float32)
    assert (world.p_click(worse) <= world.p_click(better)).all()
    for expected in (world.p_like, world.p_share, world.watch_share, world.expected_watch, world.value):
        assert (expected(worse, items) <= expected(better, items)).all()
        assert (expected(worse, items) >= 0).all()
    assert (world.expected_watch(better, items) <= world.duration).all()
    assert (world.p_like(better, items) <= 1).all()


def test_taste_drifts_from_before_to_after(data: SimulatedData) -> None:
    world, users = data.truth, np.arange(800)
    moments = np.linspace(world.config.start_at, world.config.end_at, 9).astype(np.int64)
    path = np.stack([world.taste(users, int(at)) for at in moments])
    moved = np.abs(path[-1] - path[0]).sum(axis=1)
    assert np.median(moved) > 0.2
    assert (np.abs(np.diff(path, axis=0)).sum(axis=(0, 2)) >= moved - 1e-3).all()
    long_after = world.taste(users, world.config.end_at + 1000 * 86_400_000)
    np.testing.assert_allclose(long_after, world.taste_after, atol=1e-5)


def test_without_drift_taste_stays() -> None:
    world = make_world(WorldConfig(**SMALL, drift=0.0))
    np.testing.assert_allclose(world.taste_before, world.taste_after, atol=1e-6)


def test_taste_is_narrow_and_known_in_part_from_what_users_say(data: SimulatedData) -> None:
    world = data.truth
    liked = (world.taste_before > 0.25).sum(axis=1)
    assert liked.min() >= 2
    assert liked.max() <= 4
    said = world.taste_before[np.arange(800), world.picked]
    assert 0.6 < (said == 1).mean() < 0.95


def test_items_come_over_time_and_subtopics_add_up(data: SimulatedData) -> None:
    world = data.truth
    np.testing.assert_allclose(world.item_topic.sum(axis=1), 1, atol=1e-5)
    assert (np.diff(world.published_at) >= 0).all()
    at_start = (world.published_at <= world.config.start_at).mean()
    assert at_start == pytest.approx(0.6, abs=0.01)
    assert world.published_at.max() < world.config.end_at


def test_authors_specialise(data: SimulatedData) -> None:
    world = data.truth
    topic = world.item_topic.reshape(2000, 8, -1).sum(axis=2).argmax(axis=1)
    of_author = np.zeros((len(world.author_names), 8))
    np.add.at(of_author, (world.author, topic), 1)
    prolific = of_author[of_author.sum(axis=1) >= 20]
    assert (prolific.max(axis=1) / prolific.sum(axis=1)).mean() > 0.5  # 1/8 if authors did not


@pytest.mark.parametrize("bias", [0.0, 0.4, 1.0])
def test_examination_is_certain_at_the_top_and_falls(bias: float) -> None:
    curve = examination(dataclasses.replace(WorldConfig(), position_bias=bias))
    assert curve[0] == 1
    assert (np.diff(curve) <= 0).all()
    assert curve[3] == pytest.approx(4.0**-bias)
