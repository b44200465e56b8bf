"""Events, items and users through the engine: what is accepted, and what counts at once."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.waiting import wait_for
from upnext.errors import ArtifactError
from upnext.features.replay import Moments, Replay, cuts, log_order
from upnext.home import Home
from upnext.serving.chores import Chore
from upnext.serving.engine import Engine
from upnext.serving.problems import Invalid, NotFound
from upnext.serving.rows import ItemChanges, ItemContent
from upnext.types import Requests, Slate

HOUR_MS = 3_600_000


def click(item: str, user: str = "u1", **more: object) -> dict[str, object]:
    return {"event_type": "click", "user_id": user, "item_id": item, **more}


def ids(answer: dict) -> list[str]:
    return [row["item_id"] for row in answer["items"]]


def test_an_event_counts_in_the_next_answer_of_its_user(engine: Engine) -> None:
    before = engine.recommend(user_id="newcomer", n=10)
    assert before["basis"].startswith("unknown user")
    fates = engine.ingest.add_events([click(ids(before)[0], "newcomer")])
    assert fates.as_dict() == {"accepted": 1, "duplicates": 0, "rejected": 0, "rows": ["accepted"], "rejections": []}
    after = engine.recommend(user_id="newcomer", n=10)
    assert after["basis"] == "history of 1 event"
    assert ids(before)[0] not in ids(after)


def test_repeated_events_are_duplicates(engine: Engine) -> None:
    event = click("i1", event_id="e1", timestamp="2026-01-31T18:00:00Z")
    assert engine.ingest.add_events([event, event]).rows == ["accepted", "duplicate"]
    assert engine.ingest.add_events([event]).rows == ["duplicate"]
    keyless = click("i2", timestamp=1_760_000_000)
    assert engine.ingest.add_events([keyless]).rows == ["accepted"]
    assert engine.ingest.add_events([keyless]).rows == ["duplicate"]


def test_each_row_has_a_fate_of_its_own(engine: Engine) -> None:
    now = time.time_ns() // 1_000_000
    fates = engine.ingest.add_events(
        [
            click("i1", timestamp=now),
            {"event_type": "clik", "user_id": "u1", "item_id": "i1"},
            {"event_type": "click", "user_id": "u1"},
            click("i1", timestamp=now + 48 * HOUR_MS),
            click("i1", value=float("inf")),
            click("i1", valeu=1),
            "not an object",
            click("i3", timestamp=now - 10_000 * HOUR_MS),
            {"event_type": "impression", "user_id": "u1", "items": ["i5", "i6", "brand new"]},
            click("", user="u1"),
            {"event_type": "click", "user_id": "u1", "items": ["i5"]},
        ]
    )
    assert [row[0] for row in fates.rows] == list("arrrrrraarr")
    said = {row: (problem.field, problem.message) for row, problem in fates.problems.items()}
    assert said[1] == ("event_type", "event_type 'clik' is unknown; did you mean 'click'?")
    assert said[2] == (
        None,
        "the body must name either item_id or, for impressions, items, got {'event_type': 'click', 'user_id': 'u1'}",
    )
    assert "more than a day in the future" in said[3][1]
    assert said[4][0] == "value"
    assert said[5] == ("valeu", "unknown field 'valeu'; did you mean 'value'?")
    assert said[9][0] == "item_id"


def test_a_late_event_is_history_in_the_order_received(engine: Engine) -> None:
    now = time.time_ns() // 1_000_000
    engine.ingest.add_events([click("i1", "late", timestamp=now), click("i2", "late", timestamp=now - HOUR_MS)])
    acted, _ = engine.live.state.histories(np.array([engine.live.users.ids.code("late")], np.int32))
    assert acted.item[0, -2:].tolist() == [engine.live.catalogue.ids.code(item) for item in ("i1", "i2")]


def test_events_out_of_order_count_in_the_order_of_their_arrival(engine: Engine) -> None:
    now = time.time_ns() // 1_000_000
    rows = [click(f"i{n}", "jumpy", timestamp=now - n * HOUR_MS) for n in (1, 5, 2, 300)]
    assert engine.ingest.add_events(rows).rows == ["accepted"] * 4
    acted, _ = engine.live.state.histories(np.array([engine.live.users.ids.code("jumpy")], np.int32))
    ids_of = engine.live.catalogue.ids
    assert [ids_of.names[item] for item in acted.item[0, -4:]] == ["i1", "i5", "i2", "i300"]
    assert (np.diff(acted.at[0, -4:]) >= 0).all()  # by when they were received


def test_events_of_unknown_users_and_items_are_kept_and_wait_for_their_names(engine: Engine) -> None:
    assert engine.ingest.add_events([click("unheard-of", "unheard-of")]).rows == ["accepted"]
    assert engine.recommend(user_id="unheard-of")["basis"] == "history of 1 event"
    assert engine.item("unheard-of")["title"] is None
    engine.ingest.put_item("unheard-of", ItemContent(title="now known", categories=["c1"]))
    assert engine.item("unheard-of")["title"] == "now known"
    assert "unheard-of" not in ids(engine.recommend(user_id="unheard-of", n=50))


def test_answers_become_impressions_with_what_they_knew(engine: Engine) -> None:
    as_of = engine.live.offset
    answer = engine.recommend(user_id="u1", n=5, surface="home", context={"device": "tv"})
    engine.impressions.flush()
    events = engine.log.read_events(as_of)
    assert engine.live.offset == int(events.offset[-1])
    assert engine.live.catalogue.ids.decode(events.item) == ids(answer)
    assert events.position.tolist() == [0, 1, 2, 3, 4]
    assert set(events.as_of.tolist()) == {as_of}
    assert {engine.live.roles.names[code] for code in events.type} == {"impression"}
    assert {engine.live.surfaces.names[code] for code in events.surface} == {"home"}
    _, shown = engine.live.state.histories(np.array([engine.live.users.ids.code("u1")], np.int32))
    assert shown.item[0, -5:].tolist() == events.item.tolist()


def test_a_refresh_brings_other_items_and_knows_of_the_last_answer(engine: Engine) -> None:
    """What was shown and not answered loses value once it is written, so another slate is the better one."""
    slates = []
    for _ in range(3):
        slates.append([row["item_id"] for row in engine.recommend(user_id="u7", n=8, explore=0)["items"]])
        engine.impressions.flush()  # written beside the answers: a moment later on a busy machine
    assert slates[0] != slates[1]
    assert len(set(slates[0]) & set(slates[1])) < 8
    shown = engine.live.state.histories(np.array([engine.live.users.ids.code("u7")], np.int32))[1]
    assert (shown.item >= 0).sum() >= 24


def test_impressions_keep_the_propensity_the_source_and_the_model(home: Home) -> None:
    with Engine(home) as engine:
        answer = engine.recommend(user_id="u1", n=10, explore=0.3, context={"device": "tv"})
    import json
    import sqlite3

    database = sqlite3.connect(home.directory / "var" / "log.db")
    rows = database.execute(
        "SELECT context FROM events WHERE recommendation_id = ? ORDER BY position", (answer["recommendation_id"],)
    ).fetchall()
    database.close()
    context = [json.loads(text) for (text,) in rows]
    assert [entry["source"] for entry in context] == [row["source"] for row in answer["items"]]
    assert {entry["model_version"] for entry in context} == {answer["model_version"]}
    assert {entry["request"]["device"] for entry in context} == {"tv"}
    explored = [any(why.startswith("explored") for why in row["reasons"]) for row in answer["items"]]
    assert [entry["propensity"] < 1 for entry in context] == explored
    assert any(explored)


def test_nothing_is_logged_on_request_or_for_nobody(engine: Engine) -> None:
    before = engine.log.last_offset()
    engine.recommend(user_id="u1", log_impressions=False)
    engine.recommend(recent_items=["i1"])
    engine.impressions.flush()
    assert engine.log.last_offset() == before


def test_replaying_the_log_reproduces_what_was_served(home: Home) -> None:
    """No skew: the features of every served slate, recomputed from the log alone, are the same bits."""
    served: list[tuple[Requests, Slate]] = []

    class Remember:
        name = "remember"

        def __call__(self, requests: Requests, slate: Slate) -> None:
            served.append((requests, slate))

    with Engine(home, [Remember()]) as engine:
        for number in range(12):
            user = f"u{number % 4}"
            answer = engine.recommend(user_id=user, n=5, deadline_ms=10_000)
            engine.ingest.add_events([click(ids(answer)[0], user), click(f"unseen {number}", user)])
        engine.impressions.flush()
        live, config = engine.live, engine.config
        events = live.all_events()
        replay = Replay(config.features, live.roles, live.catalogue, log_order(events))
        impressions = events.take(events.as_of >= 0)
        assert len(served) == 12
        for requests, slate in served:
            rows = slate.considered.item
            mine = (impressions.user == requests.user[0]) & (impressions.happened_at == requests.now[0])
            cut = cuts(log_order(events), impressions.happened_at[mine], impressions.as_of[mine])
            assert len(set(cut.tolist())) == 1
            one = Moments(requests.user, requests.now, cut[:1], rows, np.array([0, len(rows)]))
            names = slate.considered.feature_names
            state = [number for number, name in enumerate(names) if not name.startswith("pair_")]
            np.testing.assert_array_equal(slate.considered.features[:, state], replay.features(one))


def test_a_new_item_is_found_by_its_content_at_once(engine: Engine) -> None:
    like = engine.item("i7")
    engine.ingest.put_item(
        "i7 again", ItemContent(title=like["title"], author=like["author"], categories=like["categories"], duration=100)
    )
    assert engine.item("i7 again")["title"] == like["title"]
    found = engine.similar("i7 again", 40)
    assert {source for row in found["items"] for source in row["source"]} >= {"two_tower"}
    everything = engine.recommend(user_id="u1", n=400, deadline_ms=10_000)
    assert "i7 again" in ids(everything)


def test_an_item_that_was_edited_after_training_is_still_its_new_self_after_a_restart(home: Home) -> None:
    def vector(engine: Engine) -> np.ndarray:
        model = engine.funnels.model
        assert model is not None
        return model.ranker._vectors()[engine.live.catalogue.ids.encode(["i3"])]

    with Engine(home) as engine:
        before, other = vector(engine), engine.item("i40")
        engine.ingest.patch_item("i3", ItemChanges(title=other["title"], categories=other["categories"]))
        after = vector(engine)
    assert not np.allclose(before, after)
    with Engine(home) as engine:
        np.testing.assert_array_equal(vector(engine), after)


def test_a_deleted_or_withdrawn_item_is_never_shown_again(engine: Engine) -> None:
    first, second = ids(engine.recommend(user_id="u1", n=2, log_impressions=False))
    assert engine.ingest.delete_item(first)
    assert engine.ingest.patch_item(second, ItemChanges(available=False))
    everything = ids(engine.recommend(user_id="u1", n=500)) + ids(engine.trending(500)) + ids(engine.similar("i1", 500))
    assert not {first, second} & set(everything)
    with pytest.raises(NotFound, match="was deleted"):
        engine.item(first)
    assert engine.item(second)["available"] is False
    with pytest.raises(NotFound):
        engine.ingest.delete_item(first)
    engine.ingest.put_item(first, ItemContent(title="back again"))
    assert engine.item(first)["title"] == "back again"
    assert first in ids(engine.recommend(user_id="u2", n=500))


def test_patching_leaves_the_rest_as_it_was(engine: Engine) -> None:
    before = engine.item("i1")
    assert engine.ingest.patch_item("i1", ItemChanges(title="Renamed"))
    assert engine.item("i1") == {**before, "title": "Renamed"}
    assert engine.ingest.patch_item("i1", ItemChanges(title="Renamed")) is False
    assert engine.ingest.patch_item("i1", ItemChanges(title=None))
    assert engine.item("i1")["title"] is None
    with pytest.raises(NotFound, match="'ghost' is unknown"):
        engine.ingest.patch_item("ghost", ItemChanges(title="x"))


def test_bulk_items_and_users_report_each_row(engine: Engine) -> None:
    fates = engine.ingest.add_items(
        [
            {"item_id": "n1", "vector": [0.1, 0.2]},
            {"item_id": "n2", "vector": [0.1, 0.2, 0.3]},
            {"item_id": "n3", "duration": -1},
            {"title": "no id"},
        ]
    )
    assert fates.rows == ["accepted", "rejected", "rejected", "rejected"]
    assert fates.problems[1].message == "vector has 3 numbers, the catalogue's have 2"
    assert fates.problems[2].field == "duration"
    assert fates.problems[3].message == "item_id is missing"
    with pytest.raises(Invalid, match="vector"):
        engine.ingest.put_item("n4", ItemContent(vector=[1.0]))
    users = engine.ingest.add_users(
        [{"user_id": "a", "attributes": {"age": 31}}, {"user_id": "b", "attributes": {"x": [1]}}]
    )
    assert users.rows == ["accepted", "rejected"]
    assert "'x' is a list or an object" in users.problems[1].message


def test_bulk_changes_and_deletions_report_each_row(engine: Engine) -> None:
    before = engine.item("i5")
    fates = engine.ingest.patch_items(
        [
            {"item_id": "i5", "title": "renamed"},
            {"item_id": "nobody's", "title": "x"},
            {"item_id": "i6", "available": False},
            {"item_id": "i7", "titel": "x"},
        ]
    )
    assert fates.rows == ["accepted", "rejected", "accepted", "rejected"]
    assert "is unknown" in fates.problems[1].message
    assert engine.item("i5") == {**before, "title": "renamed"}
    assert not engine.item("i6")["available"]
    shown = ids(engine.recommend(user_id="u3", n=20, log_impressions=False))
    gone = engine.ingest.delete_items([{"item_id": item} for item in (*shown[:3], "nobody's")])
    assert gone.rows == ["accepted", "accepted", "accepted", "rejected"]
    assert not set(shown[:3]) & set(ids(engine.recommend(user_id="u3", n=200, log_impressions=False)))
    with pytest.raises(NotFound, match="was deleted"):
        engine.item(shown[0])


def test_blocked_authors_are_never_shown_to_their_user(engine: Engine) -> None:
    author = engine.item(ids(engine.recommend(user_id="u1", n=1, log_impressions=False))[0])["author"]
    engine.ingest.add_users([{"user_id": "u1", "blocked_authors": [author]}])
    shown = ids(engine.recommend(user_id="u1", n=500))
    assert author not in {engine.item(item)["author"] for item in shown}


def test_what_another_process_writes_is_taken_up(home: Home) -> None:
    with Engine(home) as engine:
        news = Chore("news", engine.refresh, every_s=0.02)
        news.start()
        other = Home.open(home.directory).log()
        other.upsert_items(pl.DataFrame({"item_id": ["from elsewhere"], "title": ["Hello"]}))
        other.close()
        wait_for(lambda: "from elsewhere" in engine.live.catalogue.ids)
        news.stop()
        assert engine.item("from elsewhere")["title"] == "Hello"


def test_a_newly_published_model_is_taken_up_and_a_damaged_one_is_not(home: Home) -> None:
    models = home.models()
    first, manifest = models.open()
    with Engine(home) as engine:
        assert engine.reload() is False
        second = _publish_copy(models, first, manifest)
        assert engine.reload() is True
        assert engine.recommend(user_id="u1")["model_version"] == second
        third = _publish_copy(models, first, manifest)
        damaged = home.directory / "var" / "models" / third / "ranker" / "scorer.onnx"
        damaged.write_bytes(damaged.read_bytes()[:-1])
        assert engine.reload() is False
        assert engine.recommend(user_id="u1")["model_version"] == second
        engine.ingest.put_item("after", ItemContent(title="After the swap"))
        assert engine.item("after")


def test_a_model_of_other_features_is_not_served(home: Home) -> None:
    with pytest.raises(ArtifactError, match=r"trained on other features .* Run `upnext train`"):
        Engine(Home.open(home.directory, ["features.half_lives_days=[3.0]"]))


def _publish_copy(models, folder: Path, manifest) -> str:
    import shutil

    with models.draft() as draft:
        shutil.copytree(folder, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        return models.publish(draft, manifest)
