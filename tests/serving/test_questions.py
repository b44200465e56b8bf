"""What the engine answers, for whom, and what it says about it."""

from __future__ import annotations

import polars as pl
import pytest

from upnext.home import Home
from upnext.serving.engine import Engine
from upnext.serving.funnels import NO_MODEL
from upnext.serving.problems import Invalid, NotFound

DAY_MS = 86_400_000


def ids(answer: dict) -> list[str]:
    return [row["item_id"] for row in answer["items"]]


def busiest(engine: Engine) -> str:
    """A user with a long history."""
    events = engine.live.all_events()
    most = pl.Series(events.user).value_counts(sort=True)[0, 0]
    return engine.live.users.ids.names[most]


def test_a_user_with_a_history_gets_a_full_personal_slate(engine: Engine) -> None:
    answer = engine.recommend(user_id=busiest(engine), n=20)
    assert len(set(ids(answer))) == 20
    assert answer["basis"].startswith("history of ")
    assert answer["model_version"] == engine.home.models().active()
    assert answer["degraded"] == []
    assert {"candidates", "features", "ranking", "reranking"} == {stage["stage"] for stage in answer["stages"]}
    assert {source for row in answer["items"] for source in row["source"]} >= {"two_tower", "als"}
    assert all(row["reasons"] for row in answer["items"])
    assert [row["position"] for row in answer["items"]] == list(range(20))


def test_because_you_watched_names_an_item_of_the_history(engine: Engine) -> None:
    user = busiest(engine)
    answer = engine.recommend(user_id=user, n=100)
    watched = {engine.live.catalogue().title[item] for item in engine.live.state.seen(engine.live.users.ids.code(user))}
    named = [
        why.removeprefix("because you watched ")
        for row in answer["items"]
        for why in row["reasons"]
        if why.startswith("because you watched ")
    ]
    assert named
    assert set(named) <= watched
    told = [row for row in answer["items"] if "because_you_watched" in row["source"]]
    assert len(named) == len(told)


@pytest.mark.parametrize(
    ("question", "basis"),
    [
        ({"user_id": "nobody has this id"}, "unknown user: popular and new items"),
        ({}, "nobody in particular: popular and new items"),
        ({"recent_items": ["i1", "i2", "i3"]}, "session of 3 items"),
        ({"recent_items": []}, "session of no known items: popular and new items"),
        ({"items": ["i5"]}, "1 named item"),
    ],
)
def test_whoever_asks_gets_a_full_slate_that_says_what_it_rests_on(engine: Engine, question: dict, basis: str) -> None:
    answer = engine.recommend(**question, n=12)
    assert len(ids(answer)) == 12
    assert answer["basis"] == basis
    assert answer["degraded"] == []


def test_a_known_user_without_a_history_is_told_so(engine: Engine) -> None:
    engine.ingest.add_users([{"user_id": "fresh", "attributes": {"plan": "free"}}])
    answer = engine.recommend(user_id="fresh")
    assert answer["basis"] == "no history: popular and new items, and what is known of the user"
    assert len(ids(answer)) == 10


def test_sessions_of_different_items_get_different_answers(engine: Engine) -> None:
    one, other = (engine.recommend(recent_items=items, n=20) for items in (["i1", "i2"], ["i200", "i201"]))
    assert ids(one) != ids(other)
    assert not {"i1", "i2"} & set(ids(one))


def test_unknown_items_are_ignored_and_named(engine: Engine) -> None:
    answer = engine.recommend(recent_items=["i1", "ghost"], exclude_ids=["phantom"], n=5)
    assert answer["basis"] == "session of 1 item"
    assert answer["notes"] == [
        "exclude_ids: 1 unknown item ignored: 'phantom'",
        "recent_items: 1 unknown item ignored: 'ghost'",
    ]


def test_excluded_items_and_other_categories_are_never_shown(engine: Engine) -> None:
    user = busiest(engine)
    first = ids(engine.recommend(user_id=user, n=10))
    assert not set(first) & set(ids(engine.recommend(user_id=user, n=50, exclude_ids=first)))
    name = engine.item(first[0])["categories"][0]
    found = engine.recommend(user_id=user, n=5, categories=[name])
    assert ids(found)
    assert all(name in engine.item(item)["categories"] for item in ids(found))


def test_a_category_that_nobody_has_gives_an_empty_answer_that_says_why(engine: Engine) -> None:
    answer = engine.recommend(user_id="u1", categories=["no such thing"])
    assert answer["items"] == []
    assert answer["notes"] == [
        "filter.categories: no item has 'no such thing'",
        "only 0 of 10: no other item may be shown",
    ]


def test_a_slate_longer_than_the_sources_reach_is_filled_up_with_popular_items(engine: Engine) -> None:
    available = int(engine.live.catalogue().available.sum())
    answer = engine.recommend(n=available)
    assert len(set(ids(answer))) == available
    filled = [row for row in answer["items"] if row["source"] == ["popularity"]]
    assert filled
    assert {why for row in filled for why in row["reasons"]} <= {"popular", "newest in the catalogue"}
    assert f"the last {len(filled)} are popular items: the sources proposed too few" in answer["notes"]


def test_weights_change_the_order_and_unknown_tasks_are_refused(engine: Engine) -> None:
    user = busiest(engine)
    plain = engine.recommend(user_id=user, n=50, diversity=0, explore=0)
    turned = engine.recommend(user_id=user, n=50, diversity=0, explore=0, weights={"click": -1.0, "watch": 0.0})
    assert ids(plain) != ids(turned)
    with pytest.raises(Invalid, match="'clicks'; did you mean 'click'") as refused:
        engine.recommend(user_id=user, weights={"clicks": 1.0})
    assert refused.value.field == "weights.clicks"


def test_too_many_items_and_two_subjects_are_refused(engine: Engine) -> None:
    with pytest.raises(Invalid, match="n is 501"):
        engine.recommend(n=501)
    with pytest.raises(Invalid, match="both given"):
        engine.recommend(user_id="u1", recent_items=["i1"])


def test_a_hopeless_deadline_degrades_and_says_so_but_answers(engine: Engine) -> None:
    answer = engine.recommend(user_id="u1", n=10, deadline_ms=0.001)
    assert len(ids(answer)) == 10
    assert answer["degraded"]


def test_pages_go_on_without_repeats_until_nothing_is_left(engine: Engine) -> None:
    available = int(engine.live.catalogue().available.sum())
    page = engine.recommend(user_id="u1", n=90, log_impressions=False)
    seen, positions = ids(page), [row["position"] for row in page["items"]]
    while page["items"]:
        page = engine.next_page(page["recommendation_id"])
        seen += ids(page)
        positions += [row["position"] for row in page["items"]]
    watched = len(engine.live.state.seen(engine.live.users.ids.code("u1")))
    assert len(set(seen)) == len(seen)
    assert available - watched <= len(seen) <= available
    assert positions == list(range(len(seen)))
    with pytest.raises(NotFound, match="'never given out' is unknown or has expired"):
        engine.next_page("never given out")


def test_similar_items_have_what_the_item_has(engine: Engine) -> None:
    answer = engine.similar("i7", 10)
    assert len(set(ids(answer)) - {"i7"}) == 10
    assert answer["degraded"] == []
    assert answer["items"][0]["reasons"] != []
    with pytest.raises(NotFound, match="item 'ghost' is unknown"):
        engine.similar("ghost")


def test_trending_is_what_was_watched_most_lately(engine: Engine) -> None:
    answer = engine.trending(10)
    popularity = engine.live.state.popularity(engine.live.latest)
    best = engine.live.catalogue.ids.decode((-popularity).argsort(kind="stable")[:10])
    assert set(ids(answer)) == set(best)
    assert answer["items"][0]["reasons"] == ["trending now"]


# -- without a model, without events, without anything


def test_without_a_model_the_answer_is_popular_and_new_and_says_so(bare: Home, home: Home) -> None:
    source, target = home.log(), bare.log()
    frame = source.read_items()
    target.upsert_items(frame.drop("code", "deleted", "revision"))
    source.close()
    target.close()
    with Engine(bare) as engine:
        answer = engine.recommend(user_id="u1", n=300)
        assert len(ids(answer)) == 300
        assert answer["degraded"][0] == NO_MODEL
        assert answer["model_version"] is None
        assert engine.health()["degraded"] == [NO_MODEL]
        newest = max(range(len(engine.live.catalogue())), key=lambda code: engine.live.catalogue().published_at[code])
        assert engine.live.catalogue.ids.names[newest] in ids(engine.recommend(n=60))
        similar = engine.similar("i3", 5)
        assert set(engine.item("i3")["categories"]) & set(engine.item(ids(similar)[0])["categories"])
        assert similar["items"][0]["reasons"] == ["newest in the catalogue"]


def test_an_empty_home_answers_with_nothing_and_says_why(bare: Home) -> None:
    with Engine(bare) as engine:
        for answer in (engine.recommend(user_id="u"), engine.trending(), engine.recommend(recent_items=["x"])):
            assert answer["items"] == []
            assert "only 0 of 10: no other item may be shown" in answer["notes"]


def test_old_items_alone_fill_a_slate(bare: Home) -> None:
    log = bare.log()
    log.upsert_items(pl.DataFrame({"item_id": [f"old{n}" for n in range(20)], "published_at": range(1, 21)}))
    log.close()
    with Engine(bare) as engine:
        assert ids(engine.recommend(user_id="anybody", n=3)) == ["old19", "old18", "old17"]


def test_a_failing_filter_removes_what_it_guards_also_from_the_popular(engine: Engine) -> None:
    class Broken:
        name = "broken"

        def __call__(self, *_: object) -> None:
            raise RuntimeError("broken")

    from dataclasses import replace

    whole = replace(engine.funnels.whole, filters=(*engine.funnels.whole.filters, Broken()))
    engine.funnels = replace(engine.funnels, whole=whole)
    answer = engine.recommend(user_id="u1")
    assert answer["items"] == []
    assert any("broken" in entry for entry in answer["degraded"])


def test_settings_of_the_home_limit_the_slate(home: Home) -> None:
    limited = Home.open(home.directory, ["serving.max_k=5"])
    with Engine(limited) as engine, pytest.raises(Invalid, match="n is 6; it must be 1 to 5"):
        engine.recommend(n=6)
