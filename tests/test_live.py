"""The views tail a real log: what is appended is seen after the next refresh, and a restart sees the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from upnext import live as live_module
from upnext.config import Config
from upnext.live import Live, with_session
from upnext.storage.sqlite import SQLiteLog
from upnext.types import History, Int64

START, MINUTE = 1_700_000_000_000, 60_000
CONFIG = Config.model_validate({"features": {"history_size": 4}})


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteLog]:
    opened = SQLiteLog(tmp_path / "log.db")
    yield opened
    opened.close()


def append(log: SQLiteLog, *rows: tuple[int, str, str, str], **columns: Any) -> None:
    """(minute, type, user, item) each; ``columns`` hold for all of them."""
    table = pl.DataFrame(rows, schema=["minute", "event_type", "user_id", "item_id"], orient="row")
    table = table.with_columns(
        pl.int_range(pl.len()).cast(pl.String).alias("event_id") + f"-{log.last_offset()}",
        happened_at=START + MINUTE * pl.col("minute"),
        **{name: pl.lit(value) for name, value in columns.items()},
    )
    log.append_events(table.drop("minute"))


def items(history: History, live: Live) -> list[str]:
    return live.catalogue.ids.decode([code for code in history.item[0].tolist() if code >= 0])


def at(minute: int) -> Int64:
    return np.array([START + minute * MINUTE])


def asked(live: Live, user: str, minute: int = 100) -> Any:
    return live.requests(np.array([live.users.ids.code(user)], np.int32), at(minute), 5)


def test_an_empty_log_can_be_asked(log: SQLiteLog) -> None:
    live = Live(log, CONFIG)
    assert (live.offset, live.latest) == (-1, 0)
    requests = asked(live, "nobody")
    assert requests.user.tolist() == [-1]
    assert (requests.acted.item == -1).all()
    assert live.refresh().tolist() == []


def test_what_is_appended_is_seen_after_a_refresh(log: SQLiteLog) -> None:
    append(log, (0, "click", "ann", "fox"))
    live = Live(log, CONFIG)
    assert items(asked(live, "ann").acted, live) == ["fox"]
    append(log, (1, "watch", "ann", "owl"), (2, "click", "bob", "elk"), (3, "impression", "ann", "elk"))
    assert items(asked(live, "ann").acted, live) == ["fox"]
    changed = live.refresh()
    assert sorted(live.catalogue.ids.decode(changed)) == ["elk", "owl"]
    assert items(asked(live, "ann").acted, live) == ["fox", "owl"]
    assert items(asked(live, "ann").shown, live) == ["elk"]
    assert items(asked(live, "bob").acted, live) == ["elk"]
    assert live.latest == START + 3 * MINUTE
    assert live.offset == log.last_offset()
    assert live.refresh().tolist() == []


def test_new_names_of_all_kinds_are_learned(log: SQLiteLog) -> None:
    live = Live(log, CONFIG)
    append(log, (0, "bookmark", "ann", "fox"), surface="home")
    live.refresh()
    assert live.roles.code("bookmark") >= 0
    assert live.roles.weight[live.roles.code("bookmark")] == 0  # not in the configuration: no preference
    assert live.surfaces.names == ["", "home"]
    append(log, (1, "like", "ann", "fox"), surface="search")
    live.refresh()
    assert live.surfaces.names == ["", "home", "search"]
    assert live.roles.weight[live.roles.code("like")] == 2


def test_items_and_users_change_and_go(log: SQLiteLog) -> None:
    live = Live(log, CONFIG)
    log.upsert_items(pl.DataFrame({"item_id": ["fox", "owl"], "title": ["Fox", "Owl"], "author": ["a", "b"]}))
    log.upsert_users(
        pl.DataFrame({"user_id": ["ann"], "attributes": [json.dumps({"country": "fr"})], "blocked_authors": [["b"]]})
    )
    assert live.refresh().tolist() == [0, 1]
    assert list(live.catalogue().title) == ["Fox", "Owl"]
    assert live.users().blocked_authors[0].tolist() == [live.catalogue().author[1]]
    log.upsert_items(pl.DataFrame({"item_id": ["owl"], "title": ["Barn owl"]}))
    log.delete_items(["fox"])
    assert live.catalogue().available.tolist() == [True, True]
    assert live.refresh().tolist() == [0, 1]
    assert live.catalogue().available.tolist() == [False, True]
    assert live.catalogue().title[1] == "Barn owl"
    log.upsert_items(pl.DataFrame({"item_id": ["fox"], "title": ["Fox"]}))
    log.delete_users(["ann"])
    assert live.refresh().tolist() == [0]
    assert live.catalogue().available.tolist() == [True, True]
    assert live.users().blocked_authors == {}
    assert (live.users().attribute == -1).all()


def test_a_restart_sees_what_a_tail_saw(log: SQLiteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    tail = Live(log, CONFIG)
    kinds = ["impression", "click", "watch", "like", "hide"]
    for step in range(30):
        rows = [
            (step, kinds[random.integers(5)], f"u{random.integers(6)}", f"i{random.integers(12)}") for _ in range(5)
        ]
        append(log, *rows)
        if step % 7 == 0:
            log.upsert_items(pl.DataFrame({"item_id": [f"i{step % 12}"], "author": [f"a{step}"]}))
        if step % 3 == 0:
            tail.refresh()
    tail.refresh()
    monkeypatch.setattr(live_module, "_EVENTS_AT_ONCE", 7)  # a restart reads the log in pieces
    fresh = Live(log, CONFIG)
    assert fresh.offset == tail.offset
    for user in range(-1, 7):
        one = np.array([user], np.int32)
        mine, theirs = tail.requests(one, at(100), 5), fresh.requests(one, at(100), 5)
        for name in ("item", "event", "at", "value"):
            np.testing.assert_array_equal(getattr(mine.acted, name), getattr(theirs.acted, name))
            np.testing.assert_array_equal(getattr(mine.shown, name), getattr(theirs.shown, name))
        np.testing.assert_array_equal(tail.state.seen(user), fresh.state.seen(user))
        np.testing.assert_array_equal(tail.state.hidden(user), fresh.state.hidden(user))
    codes = np.arange(len(tail.catalogue.ids), dtype=np.int32)
    np.testing.assert_array_equal(tail.state.impressions(codes), fresh.state.impressions(codes))
    now = START + 200 * MINUTE
    np.testing.assert_array_equal(tail.state.popularity(now), fresh.state.popularity(now))
    assert authors(tail) == authors(fresh)
    assert len(set(authors(fresh))) > 2


def authors(live: Live) -> list[str | None]:
    return [live.catalogue.authors.names[code] if code >= 0 else None for code in live.catalogue().author.tolist()]


def test_counters_count_at_the_tick_and_histories_at_once(log: SQLiteLog) -> None:
    live = Live(log, CONFIG)
    append(log, (0, "click", "ann", "fox"))
    live.refresh()
    assert items(asked(live, "ann", minute=0).acted, live) == ["fox"]
    assert live.state.popularity(START).sum() == 0
    asked(live, "ann", minute=5)
    assert live.state.popularity(START + 5 * MINUTE).sum() > 0


def test_without_events_the_state_stays_empty_but_names_are_known(log: SQLiteLog) -> None:
    append(log, (0, "click", "ann", "fox"), (1, "click", "ann", "owl"))
    live = Live(log, CONFIG, events=False)
    assert items(asked(live, "ann").acted, live) == []
    assert list(live.catalogue.ids.names) == ["fox", "owl"]
    assert live.roles.names == ["click"]
    whole = live.all_events()
    assert whole.item.tolist() == [0, 1]


def test_the_whole_log_is_in_the_order_received(log: SQLiteLog) -> None:
    append(log, (9, "click", "ann", "late"), received_at=START + 50 * MINUTE)
    append(log, (3, "click", "ann", "early"), received_at=START + 40 * MINUTE)
    events = Live(log, CONFIG, events=False).all_events()
    assert events.item.tolist() == [1, 0]
    assert events.offset.tolist() == sorted(events.offset.tolist(), reverse=True)


def test_several_users_are_one_batch(log: SQLiteLog) -> None:
    append(log, (0, "click", "ann", "fox"), (1, "click", "bob", "owl"))
    live = Live(log, CONFIG)
    requests = live.requests(np.array([1, -1, 0], np.int32), np.repeat(at(5), 3), 7)
    assert requests.acted.item[:, -1].tolist() == [1, -1, 0]
    assert (len(requests), requests.k) == (3, 7)
    assert requests.surface.tolist() == [0, 0, 0]
    assert len(requests.exclude.offsets) == len(requests.anchors.offsets) == 4


@pytest.mark.parametrize(
    ("session", "expected"),
    [([3, 5], [-1, -1, 3, 5]), ([-1, 3, -1, 5], [-1, -1, 3, 5]), ([1, 2, 3, 4, 5, 6], [3, 4, 5, 6]), ([], [-1] * 4)],
)
def test_a_session_of_items_is_a_history(log: SQLiteLog, session: list[int], expected: list[int]) -> None:
    append(log, (0, "click", "ann", "fox"))
    live = Live(log, CONFIG)
    requests = with_session(asked(live, "ann"), np.array(session, np.int32), 7)
    known = np.array(expected) >= 0
    assert requests.acted.item[0].tolist() == expected
    assert requests.acted.event[0].tolist() == [7 if slot else -1 for slot in known]
    moments = requests.acted.at[0][known]
    assert (np.diff(moments) > 0).all()
    assert (moments < requests.now[0]).all()
    assert np.isnan(requests.acted.value).all()
    assert items(asked(live, "ann").acted, live) == ["fox"]  # nothing of it is kept
