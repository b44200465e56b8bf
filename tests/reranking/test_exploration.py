from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reranking.views import NOW, at
from upnext.config import ExplorationConfig
from upnext.reranking.exploration import WIDEST, Exploration, draw, logits, optimistic, slot_positions
from upnext.stages import Reranker
from upnext.testing.reranker_contract import RerankerContract, candidates, requests
from upnext.types import Float32, Float64, Int32, Int64, Order

CONFIG = ExplorationConfig(budget=0.1, max_impressions=50, pool=8)


def odd_are_new(items: Int32) -> Float32:
    return np.where(items % 2 == 1, 3.0, 1000.0).astype(np.float32)


def odd_are_owed(items: Int32, now: Int64) -> Float64:
    """Odd items are pressed enough to be worth any slot; to the others nothing is owed."""
    return np.where(items % 2 == 1, 9.0, np.nan)


def explored(order: Order) -> list[int]:
    return np.flatnonzero(order.propensity < 1).tolist()


class TestExploration(RerankerContract):
    def reranker(self) -> Reranker:
        return Exploration(CONFIG, odd_are_new, 1, odd_are_owed)


class TestExplorationOfWhatIsHardlyPressed(RerankerContract):
    def reranker(self) -> Reranker:
        return Exploration(CONFIG, odd_are_new, 1, lambda items, now: np.where(items % 3 == 1, items / 100, np.nan))


class TestExploringAllPositions(RerankerContract):
    def reranker(self) -> Reranker:
        return Exploration(ExplorationConfig(budget=1), odd_are_new, 1, odd_are_owed)


ROWS = candidates((100,), 0, np.linspace(1, 0, 100, dtype=np.float32))


def test_owed_items_take_the_slots_and_the_others_keep_their_order() -> None:
    order = Exploration(CONFIG, odd_are_new, 1, odd_are_owed)(requests(1, 10), ROWS)
    assert explored(order) == [5, 6]
    assert (ROWS.item[order.rows[[5, 6]]] % 2 == 1).all()
    assert np.delete(order.rows, [5, 6])[:8].tolist() == list(range(8))
    assert len(set(order.rows.tolist())) == 100


@pytest.mark.parametrize(("explore", "count"), [(0.0, 0), (0.2, 2), (0.5, 5), (1.0, 10)])
def test_the_request_says_how_much_is_explored_whatever_is_owed(explore: float, count: int) -> None:
    config = CONFIG.model_copy(update={"pool": 50})
    order = Exploration(config, odd_are_new, seed=1)(replace(requests(1, 10), explore=explore), ROWS)
    assert len(explored(order)) == count


@pytest.mark.parametrize(
    "impressions",
    [
        lambda items: np.full(len(items), 50.0, np.float32),
        lambda items: np.full(len(items), np.nan, np.float32),
    ],
)
def test_nothing_is_lost_where_nothing_is_new(impressions: object) -> None:
    asked = replace(requests(1, 10), explore=0.2)
    order = Exploration(CONFIG, impressions, seed=1)(asked, ROWS)  # type: ignore[arg-type]
    assert order.rows.tolist() == list(range(100))
    assert explored(order) == []


def test_nothing_is_explored_where_nothing_is_owed_or_nothing_is_left_of_the_budget() -> None:
    nothing = Exploration(CONFIG, odd_are_new, 1, lambda items, now: np.full(len(items), np.nan))
    spent = Exploration(CONFIG, odd_are_new, 1, odd_are_owed, lambda: False)
    off = Exploration(ExplorationConfig(budget=0), odd_are_new, 1, odd_are_owed)
    for reranker in (nothing, spent, off):
        assert reranker(requests(1, 10), ROWS).rows.tolist() == list(range(100))


def test_an_owed_item_must_be_worth_what_it_displaces() -> None:
    """Utilities fall evenly; the one owed row is 1.4 standard deviations below the last of the slate."""
    only = ROWS.item[50]
    gap = (0.5 - 9 / 99 + 1 / 198) / np.linspace(1, 0, 100).std() - 1 / np.sqrt(1001)  # without its doubt
    for urgency, taken in ((gap - 0.1, False), (gap + 0.1, True)):

        def owed(items: Int32, now: Int64, urgency: float = urgency) -> Float64:
            return np.where(items == only, urgency, np.nan)

        rows = Exploration(ExplorationConfig(), lambda items: np.full(len(items), 1000.0, np.float32), 1, owed)(
            requests(1, 10), ROWS
        ).rows
        assert (50 in rows[:10]) == taken


def test_the_loss_is_what_the_slates_are_worth_less() -> None:
    heard: list[tuple[int, float, float, int]] = []
    reranker = Exploration(CONFIG, odd_are_new, 1, odd_are_owed, spent=lambda *said: heard.append(said))
    order = reranker(requests(1, 10), ROWS)
    worth = np.asarray(ROWS["utility"], np.float64)
    (slots, loss, utility, now) = heard[0]
    assert now == requests(1, 10).now[0]
    assert slots == len(explored(order)) == 2
    assert utility == pytest.approx(worth[:10].sum())
    assert loss == pytest.approx(worth[:10].sum() - worth[order.rows[:10]].sum())
    assert loss > 0


def test_a_slate_that_shows_every_row_needs_no_exploration() -> None:
    few = candidates((6,), 0)
    assert Exploration(CONFIG, odd_are_new, 1, odd_are_owed)(requests(1, 10), few).rows.tolist() == list(range(6))


def test_fewer_new_items_than_slots() -> None:
    only = ROWS.item[60]
    everywhere = replace(requests(1, 10), explore=1.0)
    order = Exploration(CONFIG, lambda items: np.where(items == only, 0, 99).astype(np.float32), 1)(everywhere, ROWS)
    assert order.rows[:10].tolist() == [0, 1, 2, 3, 4, 60, 5, 6, 7, 8]
    assert (order.propensity == 1).all()  # the draw had one outcome


def test_another_moment_is_another_draw() -> None:
    reranker = Exploration(CONFIG, odd_are_new, 1, odd_are_owed)
    drawn = {tuple(reranker(at(1, 10, np.array([NOW + n])), ROWS).rows[[5, 6]].tolist()) for n in range(30)}
    assert len(drawn) > 5


def test_the_propensity_is_how_often_it_happens() -> None:
    """Over many moments, each row comes to the first slot as often as its propensity says."""
    batch, k = 4000, 10
    rows = candidates([20] * batch, 0, np.tile(np.linspace(1, 0, 20, dtype=np.float32), batch))
    rows = replace(rows, item=np.tile(np.arange(20, dtype=np.int32), batch))
    asked = at(batch, k, NOW + np.arange(batch))
    order = Exploration(ExplorationConfig(budget=0.05, pool=6), odd_are_new, 5, odd_are_owed)(asked, rows)
    slot = order.offsets[:-1] + 5
    row, chance = order.rows[slot] % 20, order.propensity[slot]
    assert set(row.tolist()) == {9, 11, 13, 15, 17, 19}
    for drawn in set(row.tolist()):
        promised = chance[row == drawn]
        assert np.ptp(promised) == 0
        assert abs((row == drawn).mean() - promised[0]) < 4 * np.sqrt(0.25 / batch)


def test_draws_without_replacement_follow_plackett_luce() -> None:
    logit = np.log([0.5, 0.3, 0.2])
    seen: Counter[tuple[int, int]] = Counter()
    for seed in range(2000):
        drawn, chance = draw(logit, 2, np.random.default_rng(seed))
        first, second = drawn.tolist()
        weight = np.exp(logit)
        np.testing.assert_allclose(chance, [weight[first], weight[second] / (1 - weight[first])])
        seen[first, second] += 1
    assert seen[0, 1] / 2000 == pytest.approx(0.5 * 0.3 / 0.5, abs=0.04)
    assert seen[2, 1] / 2000 == pytest.approx(0.2 * 0.3 / 0.8, abs=0.04)


def test_worth_is_utility_and_doubt_and_urgency() -> None:
    utility = np.array([3.0, 1.0, 1.0, 0.0, -50.0], np.float32)
    shown = np.array([10, 0, 0, 0], np.float32)
    eligible = np.arange(1, 5)
    assert np.argsort(-optimistic(utility, shown, np.zeros(4), eligible), kind="stable").tolist() == [1, 2, 0, 3]
    urgency = np.array([0.0, 0, 0, 9])
    assert optimistic(utility, shown, urgency, eligible).argmax() == 3
    alike = optimistic(np.ones(5, np.float32), shown, urgency, eligible)
    np.testing.assert_allclose(alike, 1 / np.sqrt(1 + shown) + urgency)
    every = logits(np.sort(np.r_[1e9, np.zeros(999)])[::-1])
    assert every.max() - every.min() <= WIDEST


@given(st.integers(1, 500), st.floats(0, 1), st.integers(0, 1))
def test_slots_are_in_proportion_and_inside_the_slate(k: int, share: float, least: int) -> None:
    slots = slot_positions(k, share, least)
    assert len(slots) == least or abs(len(slots) - share * k) <= 0.5 + 1e-9
    assert len(slots) >= least
    assert len(set(slots.tolist())) == len(slots)
    assert ((slots >= 0) & (slots < k)).all()


def test_the_usual_slate_explores_its_middle() -> None:
    assert slot_positions(10, 0.1).tolist() == [5]
    assert slot_positions(10, 0.2).tolist() == [5, 6]
    assert slot_positions(20, 0.1).tolist() == [5, 15]
    assert slot_positions(25, 0.12).tolist() == [6, 19, 20]
    assert slot_positions(4, 0.1).tolist() == []
    assert slot_positions(4, 0.1, least=1).tolist() == [2]
    assert slot_positions(3, 1.0).tolist() == [0, 1, 2]


def test_only_as_many_are_drawn_as_are_worth_their_place() -> None:
    """The last row of the slate gives way to either of the owed ones; the one before it is worth more than they."""
    utility = np.array([9, 9, 9, 9, 9, 9, 9, 9, 9, 1, 1, 0.9, *np.zeros(20)], np.float32)
    rows = candidates((32,), 0, utility)
    pressed = rows.item[[11, 12]]

    def owed(items: Int32, now: Int64) -> Float64:
        return np.where(np.isin(items, pressed), 0.5, np.nan)

    order = Exploration(CONFIG, lambda items: np.full(len(items), 1000.0, np.float32), 1, owed)(requests(1, 10), rows)
    assert explored(order) == [5]
    assert order.rows[5] in (11, 12)
    assert np.delete(order.rows, 5)[:9].tolist() == list(range(9))
