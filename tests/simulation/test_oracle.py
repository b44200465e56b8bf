"""The oracle against looking at every item by hand."""

from __future__ import annotations

import numpy as np
import pytest

from upnext.simulation import SimulatedData, World, WorldConfig, expected_value, oracle, oracle_top
from upnext.simulation.creation import make_world
from upnext.types import Ragged


@pytest.fixture(scope="module")
def tiny() -> World:
    return make_world(WorldConfig(items=40, users=9, impressions=30, days=2, topics=3))


def by_hand(world: World, user: int, at: int, k: int, excluded: set[int]) -> list[int]:
    scored = []
    for item in range(world.config.items):
        if world.published_at[item] <= at and item not in excluded:
            one = np.array([item])
            utility = world.utility(np.array([user]), one, at)
            scored.append((-float(world.value(utility, one)[0, 0]), item))
    best = [item for _, item in sorted(scored)[:k]]
    return best + [-1] * (k - len(best))


@pytest.mark.parametrize("cells", [1, 100, 1_000_000])
@pytest.mark.parametrize("k", [1, 7, 50])
def test_equals_brute_force(tiny: World, monkeypatch: pytest.MonkeyPatch, cells: int, k: int) -> None:
    monkeypatch.setattr(oracle, "CELLS", cells)
    users = np.array([3, 0, 8, 3], np.int32)
    excluded = [[0, 5, 7, 39], [], list(range(30)), [2, 2, -1]]
    at = tiny.config.start_at + 40_000_000
    found = oracle_top(tiny, users, at, k, Ragged.of(excluded))
    assert found.dtype == np.int32
    expected = [by_hand(tiny, int(u), at, k, set(x)) for u, x in zip(users, excluded, strict=True)]
    assert found.tolist() == expected


def test_without_exclusions_and_before_everything(tiny: World) -> None:
    users = np.array([1], np.int32)
    at = tiny.config.end_at
    assert oracle_top(tiny, users, at, 5).tolist() == [by_hand(tiny, 1, at, 5, set())]
    assert oracle_top(tiny, users, 0, 3).tolist() == [[-1, -1, -1]]
    assert oracle_top(tiny, users[:0], at, 3).shape == (0, 3)


def test_nothing_is_worth_more_than_the_oracles_slate(data: SimulatedData) -> None:
    world, rng = data.truth, np.random.default_rng(0)
    users = np.arange(100, dtype=np.int32)
    best = expected_value(world, users, oracle_top(world, users, world.config.end_at, 10), world.config.end_at)
    for _ in range(5):
        other = rng.integers(0, 2000, (100, 10)).astype(np.int32)
        assert (expected_value(world, users, other, world.config.end_at) <= best).all()


def test_empty_slots_are_worth_nothing(tiny: World) -> None:
    users, at = np.array([2], np.int32), tiny.config.end_at
    full = expected_value(tiny, users, np.array([[4]], np.int32), at)
    half = expected_value(tiny, users, np.array([[4, -1]], np.int32), at)
    assert half[0] == pytest.approx(full[0] / 2)
