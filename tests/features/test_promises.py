from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.candidates.catalogues import catalogue_of
from upnext.config import ExplorationConfig
from upnext.features.promises import (
    COST_WINDOW_MS,
    GAIN,
    HOUR_MS,
    LISTED,
    PLANNED,
    REFRESH_MS,
    WINDOW_MS,
    Promises,
    pressing,
)
from upnext.types import EVENT_COLUMNS, Catalogue, Events, Float32, Int32, Int64

NOW = 1_700_000_000_000
HOURS = 24
IMPRESSION, CLICK = 0, 1


class World:
    """A catalogue and impressions that a test can change, and the promises over them."""

    def __init__(self, ages_in_hours: list[float], **settings: float) -> None:
        self.catalogue: Catalogue = catalogue_of(published(ages_in_hours))
        self.shown = np.zeros(len(ages_in_hours) + 1000, np.float32)
        config = ExplorationConfig(**settings)  # type: ignore[arg-type]
        self.since: int | None = NOW - 1000 * HOUR_MS
        is_impression = np.array([True, False])
        self.promises = Promises(config, lambda: self.catalogue, self._impressions, is_impression, lambda: self.since)

    def _impressions(self, items: Int32) -> Float32:
        return self.shown[items]

    def owed(self, now: int = NOW, also: int = 0) -> list[int]:
        """Items of the catalogue (and ``also`` beyond it) that are owed impressions."""
        items = np.arange(len(self.catalogue) + also, dtype=np.int32)
        urgency = self.promises.urgency(items, np.full(len(items), now))
        listed = set(self.promises.open_claims(now).tolist())
        owed = np.flatnonzero(~np.isnan(urgency)).tolist()
        assert set(owed) <= listed
        return owed

    def show(self, items: list[int], now: int, event: int = IMPRESSION) -> None:
        item = np.array(items, np.int32)
        if event == IMPRESSION:
            np.add.at(self.shown, item, 1)
        columns = {name: np.zeros(len(item), kind) for name, kind in EVENT_COLUMNS.items()}
        columns |= {"item": item, "type": np.full(len(item), event, np.int16)}
        columns |= {"received_at": np.full(len(item), now)}
        self.promises.count(Events(**columns))

    def add(self, ages_in_hours: list[float]) -> None:
        before = len(self.catalogue)
        self.catalogue = catalogue_of(np.concatenate([self.catalogue.published_at, published(ages_in_hours)]))
        self.promises.changed(np.arange(before, len(self.catalogue), dtype=np.int32))


def published(ages_in_hours: list[float]) -> Int64:
    return (NOW - np.array(ages_in_hours) * HOUR_MS).astype(np.int64)


def test_who_is_owed_what() -> None:
    world = World([1, 23.9, 24, 1000, -2, 5])
    world.shown[5] = 50
    assert world.owed(also=3) == [0, 1]
    assert world.owed(NOW + 2 * HOUR_MS) == [0, 4]  # item 1 has lapsed, item 4 is out now
    world.shown[0] = 49
    assert world.owed(NOW + 2 * HOUR_MS) == [0, 4]
    world.shown[0] = 50
    assert world.owed(NOW + 2 * HOUR_MS) == [4]


def test_an_unknown_time_of_publication_is_owed_nothing_but_arriving_counts() -> None:
    world = World([1])
    world.catalogue = catalogue_of(np.array([0, NOW]))
    assert world.owed() == [1]
    world.add([1000])  # an old film that came into the catalogue now
    world.catalogue = replace(world.catalogue, published_at=world.catalogue.published_at * [1, 1, 0])
    later = NOW + REFRESH_MS // 3
    assert world.owed(later) == [1, 2]
    assert world.owed(later + HOURS * HOUR_MS - 1) == [2]
    assert world.owed(later + HOURS * HOUR_MS) == []


def test_what_arrives_is_owed_at_once_and_what_may_not_be_shown_is_not_listed() -> None:
    world = World([1])
    assert world.owed() == [0]
    world.add([0.5, -1])
    assert world.owed() == [0, 1]
    assert world.owed(NOW + HOUR_MS) == [0, 1, 2]
    gone = np.array([True, False, True])
    world.catalogue = replace(world.catalogue, available=gone)
    assert world.promises.open_claims(NOW + 2 * HOUR_MS).tolist() == [0, 2]


def test_a_publication_that_is_put_off_moves_the_claim() -> None:
    world = World([1, 1])
    assert world.owed() == [0, 1]
    world.catalogue = catalogue_of(published([1, -10]))
    world.promises.changed(np.array([1], np.int32))
    assert world.owed() == [0]
    assert world.owed(NOW + 11 * HOUR_MS) == [0, 1]


def test_time_that_goes_back_starts_anew() -> None:
    world = World([1, 30])
    assert world.owed() == [0]
    assert world.owed(NOW - 10 * HOUR_MS) == [1]
    assert world.owed() == [0]


def test_many_claims_wait_in_line() -> None:
    world = World([1 + n / 1e4 for n in range(LISTED + 500)])
    assert len(world.shown) > LISTED + 500
    first = world.promises.open_claims(NOW)
    assert first.tolist() == list(range(500, LISTED + 500))  # those that opened first
    world.shown[first[:300]] = 50
    second = world.promises.open_claims(NOW + REFRESH_MS)
    assert second.tolist() == [*range(200, 500), *range(800, LISTED + 500)]


def test_urgency_follows_the_pace() -> None:
    on_schedule = np.linspace(0, PLANNED - 0.01, 9)
    np.testing.assert_allclose(pressing(on_schedule, on_schedule / PLANNED), 0, atol=1e-9)
    half = np.array([PLANNED / 2])
    np.testing.assert_allclose(pressing(half, np.zeros(1)), GAIN * np.log(2))
    np.testing.assert_allclose(pressing(half, np.array([0.9])), 0)  # ahead
    late = np.array([PLANNED, 0.99])
    assert (pressing(late, np.array([0.0, 0.98])) == pressing(late, np.array([0.98, 0.0]))).all()


@given(st.floats(0, 1), st.floats(0, 0.999), st.floats(0, 1), st.floats(0, 1))
def test_urgency_grows_with_age_and_falls_with_impressions(age: float, got: float, older: float, more: float) -> None:
    def urgency(age: float, got: float) -> float:
        return float(pressing(np.array([age]), np.array([got]))[0])

    assert 0 <= urgency(age, got) <= urgency(min(age + older, 1.0), got) < np.inf
    assert urgency(age, min(got + more, 0.999)) <= urgency(age, got)


def test_the_budget_is_a_share_of_what_was_shown_lately() -> None:
    world = World([1, 100], budget=0.1)
    assert not world.promises.affordable()  # nothing was shown yet: nobody can say
    assert world.owed() == [0]
    world.show([1] * 19, NOW)
    assert world.promises.affordable()
    world.show([0] * 2, NOW)
    assert world.promises.standing().used == pytest.approx(2 / 21)
    assert world.promises.affordable()
    world.show([0], NOW)
    assert not world.promises.affordable()
    world.show([0] * 50, NOW, CLICK)  # no impressions
    world.show([1] * 6, NOW + WINDOW_MS)
    assert world.promises.standing().used == pytest.approx(1.5 / (11 + 6))
    assert world.promises.affordable()


def test_what_an_earlier_system_left_behind_is_owed_nothing() -> None:
    world = World([1, 5, 20])
    world.since = NOW - 6 * HOUR_MS
    assert world.owed() == [0, 1]


def test_who_never_served_owes_to_what_comes_from_now_on_and_still_does_when_it_has_served() -> None:
    world = World([1, -2])
    world.since = None
    assert world.owed() == []
    world.add([-0.5])
    world.since = NOW + 3 * HOUR_MS  # when the first answer was given
    assert world.owed(NOW + 4 * HOUR_MS) == [1, 2]


def test_exploring_stops_while_its_estimated_cost_is_above_what_it_may_be() -> None:
    world = World([1, 100], budget=0.5, max_cost=0.02)
    assert world.owed() == [0]
    world.show([1] * 20, NOW)
    world.promises.spent(1, 0.5, 30.0, NOW)
    assert world.promises.affordable()  # 1.7 %
    world.promises.spent(1, 0.5, 10.0, NOW)
    assert not world.promises.affordable()  # 2.5 %
    world.promises.spent(0, 0.0, 10.0, NOW)
    assert world.promises.affordable()  # 2 %
    world.promises.spent(1, 0.5, 0.0, NOW + COST_WINDOW_MS)
    assert not world.promises.affordable()  # 1 of 25
    world.promises.spent(0, 0.0, 26.0, NOW + COST_WINDOW_MS)
    assert world.promises.affordable()  # 1 of 51: what is a day old counts half


def test_no_budget_no_promise() -> None:
    for settings in ({"budget": 0}, {"max_impressions": 0}):
        world = World([1], **settings)
        world.show([0] * 10, NOW)
        assert world.owed() == []
        assert not world.promises.affordable()
        assert world.promises.open_claims(NOW).tolist() == []


def test_the_standing_says_what_became_of_the_promise() -> None:
    world = World([1, 23, 20, 2000])
    assert world.owed() == [0, 1, 2]
    world.show([2] * 50, NOW)
    assert world.owed(NOW + 2 * HOUR_MS) == [0]
    world.promises.spent(3, 1.5, 30.0, NOW)
    standing = world.promises.standing()
    assert (standing.owed, standing.behind, standing.kept, standing.broken) == (1, 1, 1, 1)
    assert (standing.explored, standing.loss, standing.utility) == (3, 1.5, 30.0)


def test_requests_of_one_batch_are_judged_each_at_its_own_time() -> None:
    world = World([1, 23])
    items = np.array([0, 1, 0, 1], np.int32)
    now = NOW + np.array([0, 0, 2, 2]) * HOUR_MS
    together = world.promises.urgency(items, now)
    assert np.isnan(together).tolist() == [False, False, False, True]
    for row in (3, 0, 1, 2):
        alone = World([1, 23]).promises.urgency(items[row : row + 1], now[row : row + 1])
        np.testing.assert_array_equal(alone, together[row : row + 1])


@given(
    st.lists(st.floats(-3, 30), min_size=1, max_size=30), st.lists(st.integers(0, 40), max_size=30), st.floats(0, 20)
)
def test_urgency_claim_by_claim(ages: list[float], items: list[int], later: float) -> None:
    world, now = World(ages), NOW + int(later * HOUR_MS)
    world.shown[: len(ages)] = np.arange(len(ages)) * 3
    world.promises.open_claims(NOW)
    found = world.promises.urgency(np.array(items, np.int32), np.full(len(items), now))
    for item, urgency in zip(items, found.tolist(), strict=True):
        opened = published(ages)[item] if item < len(ages) else now + 1
        age, got = (now - opened) / (HOURS * HOUR_MS), 3 * item / 50
        if 0 <= age < 1 and got < 1 and opened > NOW - HOURS * HOUR_MS:
            assert urgency == pytest.approx(pressing(np.array([age]), np.array([got]))[0], rel=1e-5, abs=1e-5)
        else:
            assert np.isnan(urgency)
