from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from upnext.simulation import SimulatedData
from upnext.simulation.closed_loop import Outcome, Visits, draw_visits, expected_seconds, first_impressions, run
from upnext.simulation.oracle import oracle_top
from upnext.simulation.world import DAY_MS, World
from upnext.types import Int32, Int64

STEP = 30 * 60_000
DAYS = 2


class Oracle:
    """Shows what is best for each, or (``worst``) the oldest items, and remembers what it was told."""

    def __init__(self, world: World, worst: bool = False) -> None:
        self._world, self._worst = world, worst
        self.published: list[tuple[int, int]] = []
        self.heard: list[pl.DataFrame] = []
        self.told_at: list[int] = []

    def publish(self, items: Int32, now: int) -> None:
        assert (self._world.published_at[items] <= now).all()
        self.published += [(item, now) for item in items.tolist()]

    def slates(self, users: Int32, at: Int64, k: int) -> Int32:
        assert len(np.unique(users)) == len(users)
        if self._worst:
            return np.tile(np.arange(k, dtype=np.int32), (len(users), 1))
        return oracle_top(self._world, users, int(at[0]), k)

    def hear(self, events: pl.DataFrame, now: int) -> None:
        assert events["happened_at"].is_sorted()
        assert int(events["happened_at"].max()) < now  # type: ignore[call-overload]
        self.heard.append(events)
        self.told_at.append(now)


def loop(world: World, service: Oracle) -> tuple[Visits, Outcome, list[int]]:
    begin = world.config.end_at - DAYS * DAY_MS
    visits, nights = draw_visits(world, begin, DAYS, 400, STEP), list[int]()
    return visits, run(world, visits, service, begin, world.config.end_at, nights.append), nights


@pytest.fixture(scope="module")
def oracle(data: SimulatedData) -> Oracle:
    return Oracle(data.truth)


@pytest.fixture(scope="module")
def played(data: SimulatedData, oracle: Oracle) -> tuple[Visits, Outcome, list[int]]:
    return loop(data.truth, oracle)


def test_visits_follow_the_rhythm_and_nobody_comes_twice_in_a_step(data: SimulatedData) -> None:
    begin = data.truth.config.end_at - DAYS * DAY_MS
    visits = draw_visits(data.truth, begin, DAYS, 400, STEP)
    assert 700 <= len(visits) <= 800  # some sessions end after the last day
    assert (np.diff(visits.at) >= 0).all()
    assert begin <= visits.at.min() <= visits.at.max() < begin + DAYS * DAY_MS
    pairs = (visits.at - begin) // STEP * 10_000 + visits.user
    assert len(np.unique(pairs)) == len(visits)
    assert (visits.at >= data.truth.arrived_at[visits.user]).all()


def test_the_service_hears_everything_that_happened_once(
    oracle: Oracle, played: tuple[Visits, Outcome, list[int]]
) -> None:
    visits, outcome, _ = played
    heard = pl.concat(oracle.heard)
    impressions = heard.filter(pl.col("event_type") == "impression")
    assert len(impressions) == (outcome.slate >= 0).sum() == 10 * len(visits)
    assert impressions.select("recommendation_id", "position").is_unique().all()
    watched = heard.filter(pl.col("event_type") == "watch")["value"].sum()
    assert 0.9 * outcome.seconds.sum() < watched <= outcome.seconds.sum() * 1.0001  # a few end after the last step
    assert heard.filter(pl.col("event_type") == "like").height > 0


def test_items_are_published_in_time_and_nights_come_between_days(
    data: SimulatedData, oracle: Oracle, played: tuple[Visits, Outcome, list[int]]
) -> None:
    world, begin = data.truth, data.truth.config.end_at - DAYS * DAY_MS
    new = np.flatnonzero((world.published_at > begin) & (world.published_at <= world.config.end_at - STEP))
    assert [item for item, _ in oracle.published] == new.tolist()
    assert all(0 <= now - world.published_at[item] < STEP for item, now in oracle.published)
    assert played[2] == [begin + DAY_MS]


def test_the_same_again_is_the_same_and_a_worse_service_brings_less(
    data: SimulatedData, played: tuple[Visits, Outcome, list[int]]
) -> None:
    visits, outcome, _ = played
    again = loop(data.truth, Oracle(data.truth))[1]
    np.testing.assert_array_equal(outcome.seconds, again.seconds)
    worse = loop(data.truth, Oracle(data.truth, worst=True))[1]
    assert worse.seconds.sum() < 0.5 * outcome.seconds.sum()
    assert worse.expected.sum() < 0.5 * outcome.expected.sum()
    np.testing.assert_allclose(outcome.seconds.sum(), outcome.expected.sum(), rtol=0.1)
    np.testing.assert_allclose(
        outcome.expected[:5], expected_seconds(data.truth, visits.user[:5], outcome.slate[:5], visits.at[:5])
    )


def test_first_impressions_are_those_soon_after_publication(
    data: SimulatedData, played: tuple[Visits, Outcome, list[int]]
) -> None:
    visits, outcome, _ = played
    found = first_impressions(data.truth, visits, outcome, 3_600_000)
    item = int(outcome.slate[0, 0])
    expected = sum(
        item in slate and at < data.truth.published_at[item] + 3_600_000
        for slate, at in zip(outcome.slate.tolist(), visits.at.tolist(), strict=True)
    )
    assert found[item] == expected
    assert found.sum() > 0
    everything = first_impressions(data.truth, visits, outcome, 10**12)
    np.testing.assert_array_equal(everything, np.bincount(outcome.slate.ravel(), minlength=data.truth.config.items))
