"""A page in rows: what each row says, what is kept of it, and what is logged as shown."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.console.server import copied
from upnext.home import Home
from upnext.serving.console.kept import MOST, Pages
from upnext.serving.console.mattered import mattered
from upnext.serving.console.page import home_page
from upnext.serving.console.xray import funnel
from upnext.serving.engine import Engine
from upnext.serving.question import Question
from upnext.types import Candidates


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Home:
    return copied(trained, tmp_path / "home")


@pytest.fixture
def engine(home: Home) -> Iterator[Engine]:
    with Engine(home) as opened:
        yield opened


def logged(engine: Engine, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The impressions of a row, in the order of their positions."""
    engine.impressions.flush()
    database = sqlite3.connect(engine.home.directory / "var" / "log.db")
    rows = database.execute(
        "SELECT position, context FROM events WHERE recommendation_id = ? ORDER BY position",
        (row["recommendation_id"],),
    ).fetchall()
    database.close()
    return [{"position": position, **json.loads(context)} for position, context in rows]


def test_positions_count_on_from_row_to_row(engine: Engine) -> None:
    page = home_page(engine, Pages(), "u1")
    cards = [card for row in page["rows"] for card in row["items"]]
    assert len(page["rows"]) >= 3
    assert [card["position"] for card in cards] == list(range(len(cards)))


def test_every_row_is_logged_once_where_it_stands(engine: Engine) -> None:
    before = engine.log.last_offset()
    page = home_page(engine, Pages(), "u1")
    engine.impressions.flush()
    events = engine.log.read_events(before)
    cards = [card for row in page["rows"] for card in row["items"]]
    assert sorted(events.position.tolist()) == list(range(len(cards)))
    assert {engine.live.surfaces.names[code] for code in events.surface} == {"console"}
    for row in page["rows"]:
        shown = logged(engine, row)
        assert [entry["position"] for entry in shown] == [card["position"] for card in row["items"]]
        assert [entry["source"] for entry in shown] == [card["source"] for card in row["items"]]
        assert {entry["request"]["row"] for entry in shown} == {row["key"]}


def test_the_propensity_is_that_of_the_slate_and_of_what_was_taken_is_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upnext.serving.console.page.Question", partial(Question, explore=0.3))
    pages, drawn = Pages(), set[str]()
    for user in range(4):
        for row in home_page(engine, pages, f"u{user}")["rows"]:
            said = [entry["propensity"] for entry in logged(engine, row)]
            kept = pages.find(row["recommendation_id"])
            chances = [] if kept is None else kept.slate.chosen["propensity"].tolist()
            np.testing.assert_allclose(said, chances + [1.0] * (len(said) - len(chances)), atol=1e-6)
            assert (kept is not None) == (row["key"] in ("for_you", "because"))
            if min(said) < 1:
                drawn.add(row["key"])
    assert drawn == {"for_you", "because"}


def test_the_xray_of_an_anchored_answer_is_of_its_own_sources(engine: Engine) -> None:
    pages = Pages()
    rows = home_page(engine, pages, "u1")["rows"]
    whole, anchored = (pages.find(row["recommendation_id"]) for row in rows[:2])
    assert whole is not None
    assert anchored is not None
    assert rows[1]["title"].startswith("Because you watched")
    for kept, reading in ((whole, engine.funnels.whole), (anchored, engine.funnels.anchored)):
        found = funnel(kept, engine.live)
        assert [(one["source"], one["quota"]) for one in found["sources"]] == [
            (source.name, quota) for source, quota in reading.sources
        ]
        assert all(0 <= one["proposed"] <= one["quota"] for one in found["sources"])
        assert not any(one["error"] for one in found["sources"])
    assert len(engine.funnels.anchored.sources) < len(engine.funnels.whole.sources)


def test_a_feature_did_what_the_ranking_lacks_without_it(engine: Engine) -> None:
    pages = Pages()
    kept = pages.find(home_page(engine, pages, "u1")["rows"][0]["recommendation_id"])
    assert kept is not None
    rows, funnel_ = kept.slate.considered, kept.funnels.whole
    assert rows.features is not None
    usual = np.median(rows.features, axis=0)
    for row in np.argsort(-rows["choice"])[[1, 5, 50]].tolist():  # the others are compared with the first
        for feature in mattered(kept, row)[:3]:
            column = rows.feature_names.index(feature["feature"])
            without = rows.features.copy()
            without[row, column] = usual[column]
            table = Candidates(rows.item, rows.offsets).with_features(without, rows.feature_names)
            table = table.with_columns(funnel_.rankers[0](kept.asked.requests, table))
            lacking = rows["value"][row] - funnel_.value(kept.asked.requests, table)[row]
            np.testing.assert_allclose(feature["effect"], lacking, rtol=0.02, atol=1e-3)


def test_the_latest_answers_are_kept(engine: Engine) -> None:
    pages = Pages()
    first, *later = (home_page(engine, pages, "u1")["rows"][:2] for _ in range(MOST // 2 + 1))
    assert [pages.find(row["recommendation_id"]) for row in first] == [None, None]
    assert all(pages.find(row["recommendation_id"]) is not None for rows in later for row in rows)
