"""The closed loop with the real funnel, small: new items get their impressions, from a bounded share of slots."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from benchmarks.exploration import SMALL, Arm, EngineService, Setting, cost, play, prepare, visits_of

from upnext.config import Config
from upnext.home import Home
from upnext.simulation import SimulatedData
from upnext.simulation.closed_loop import first_impressions
from upnext.simulation.world import DAY_MS

PROMISED, HOURS = 30, 24
SETTING = Setting(
    seed=5,
    days=2,
    items=400,
    users=130,
    slates_a_day=400,
    days_before=12,
    days_of_log=4,
    log_slates_a_day=36,
    step_minutes=60,
    nights=False,
    overrides=(
        *SMALL,
        "candidates.als.epochs=1",
        "candidates.two_tower.epochs=1",
        "ranking.epochs=8",  # a ranker that has learned nothing may love what is new by luck
        "ranking.batch_size=128",
        f"reranking.exploration.max_impressions={PROMISED}",
        f"reranking.exploration.within_hours={HOURS}",
    ),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loop") / "home"


@pytest.fixture(scope="module")
def data(home: Path) -> SimulatedData:
    return prepare(SETTING, home)


@pytest.fixture(scope="module")
def arms(home: Path, data: SimulatedData) -> dict[str, Arm]:
    return {name: play(SETTING, name, home, data) for name in ("explored", "control")}


def reached(arm: Arm, data: SimulatedData) -> float:
    """Share of the items of the first day that got their impressions within their hours."""
    published = data.truth.published_at
    due = (published > SETTING.begin) & (published <= SETTING.begin + DAY_MS)
    assert due.sum() >= 8
    shown = first_impressions(data.truth, visits_of(SETTING, data), arm.outcome, HOURS * 3_600_000)
    return float((shown[due] >= PROMISED).mean())


def test_new_items_get_what_they_were_promised(arms: dict[str, Arm], data: SimulatedData) -> None:
    assert reached(arms["explored"], data) >= 0.95
    assert reached(arms["control"], data) < 0.8


def test_the_budget_is_kept_and_accounted(arms: dict[str, Arm]) -> None:
    drawn, standing = arms["explored"].drawn, arms["explored"].standing
    assert 0 < drawn.mean() / 10 <= Config().reranking.exploration.budget
    assert standing["explored"] >= drawn.sum() > 0  # a drawn row may have been in the slate anyway
    assert 0 < standing["loss"] < 0.1 * standing["utility"]
    assert arms["control"].drawn.sum() == arms["control"].standing["explored"] == 0
    at_once = cost(np.arange(len(drawn)), arms["explored"].outcome.expected, arms["explored"].plain, 0)
    assert at_once[1] <= at_once[0] <= at_once[2] < 5


def test_the_log_holds_simulated_times_and_every_draws_chance(arms: dict[str, Arm], home: Path) -> None:
    database = sqlite3.connect(home.with_name(f"{home.name}-explored") / "var" / "log.db")
    rows = database.execute("SELECT received_at, context, position FROM events WHERE context IS NOT NULL").fetchall()
    database.close()
    assert len(rows) == arms["explored"].outcome.slate.size
    received, chance = np.array([row[0] for row in rows]), [json.loads(row[1])["propensity"] for row in rows]
    assert SETTING.begin < received.min() <= received.max() <= SETTING.world.end_at
    drawn = {position for (_, _, position), value in zip(rows, chance, strict=True) if value < 1}
    assert drawn <= {5, 6}
    assert 5 in drawn


def test_a_night_of_training_is_taken_up(home: Path, data: SimulatedData, arms: dict[str, Arm]) -> None:
    folder = home.with_name(f"{home.name}-control")
    service = EngineService(Home.open(folder, SETTING.overrides), data, SETTING.world.end_at)
    with service.engine:
        before = service.engine.funnels.version
        service.night(SETTING.world.end_at)
        assert service.engine.funnels.version != before
