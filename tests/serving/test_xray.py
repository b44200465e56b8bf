"""The x-ray agrees with the slate it is of, whatever became of the item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from upnext.serving.engine import Engine
from upnext.serving.question import Question
from upnext.types import Slate
from upnext.xray import path_of


def slate_of(engine: Engine, **question: object) -> Slate:
    asked = engine._ask(Question(**question))
    return engine.funnels.whole(asked.requests, observe=False)


def test_every_item_ends_at_exactly_one_stage(engine: Engine) -> None:
    slate = slate_of(engine, user_id="u1", n=10, exclude_ids=["i1", "i2", "i3"])
    chosen, considered = set(slate.chosen.item.tolist()), set(slate.considered.item.tolist())
    removed = {item: name for name, rows in slate.removed.items() for item in rows.item.tolist()}
    assert "excluded" in removed.values()
    stages = []
    for item in range(len(engine.live.catalogue())):
        path = path_of(slate, item)
        stages.append(path["stage"])
        assert (path["stage"] == "shown") == (item in chosen) == (path["position"] is not None)
        assert path["removed_by"] == removed.get(item)
        assert ("value" in path) == (item in considered)
        assert bool(path["sources"]) == (item in considered or item in removed)
    assert {"shown", "reranking", "candidates"} == set(stages)


def test_numbers_are_those_of_the_slate(engine: Engine) -> None:
    slate = slate_of(engine, user_id="u1", n=10, explore=0.0)
    considered = slate.considered
    order = np.argsort(-considered["utility"].astype(np.float64), kind="stable")
    for row in (0, len(considered) // 2, len(considered) - 1):
        path = path_of(slate, int(considered.item[row]))
        assert order[path["place_before_reranking"]] == row
        assert path["predictions"]["p_click"] == float(f"{considered['p_click'][row]:.6g}")
        for source in path["sources"]:
            scores = considered[f"score_{source['source']}"]
            assert source["score"] == float(f"{scores[row]:.6g}")
            others = np.concatenate([scores, *(gone[f"score_{source['source']}"] for gone in slate.removed.values())])
            assert source["rank"] == int((others > scores[row]).sum())
            assert source["proposed"] == int(np.isfinite(others).sum())


def test_explain_says_how_an_item_that_nobody_proposed_would_have_fared(engine: Engine) -> None:
    slate = slate_of(engine, user_id="u1", n=10)
    everything = np.arange(len(engine.live.catalogue()))
    never = engine.live.catalogue.ids.decode(np.setdiff1d(everything, slate.considered.item))
    assert never
    for item in never[:3]:
        path = engine.explain("u1", item)
        had = path["had_it_been_ranked"]
        assert set(had["predictions"]) >= {"p_click"}
        assert 0 <= had["place"] <= len(slate.considered)
        assert set(path["fit"]) >= {"als", "two_tower", "because_you_watched"}


def test_explain_agrees_with_the_prediction_of_a_ranked_item(engine: Engine) -> None:
    """What would have been is computed by the same parts: for an item that was ranked it is what was."""
    from upnext.serving.explain import _had_it_been_ranked

    asked = engine._ask(Question(user_id="u1", n=10))
    slate = engine.funnels.whole(asked.requests, observe=False)
    item = int(slate.considered.item[5])
    had = _had_it_been_ranked(asked.requests, item, slate, engine.funnels.whole)
    path = path_of(slate, item)
    np.testing.assert_allclose(had["value"], path["value"], rtol=1e-3)
    assert abs(had["place"] - path["place_before_reranking"]) <= 1


def test_explain_names_the_filter(engine: Engine) -> None:
    item = engine.trending(1)["items"][0]["item_id"]
    engine.ingest.add_events([{"event_type": "click", "user_id": "u1", "item_id": item}])
    path = engine.explain("u1", item)
    assert (path["stage"], path["removed_by"]) == ("candidates", "watched")
    assert path["outcome"] == "removed by the filter 'watched'"
    assert "trending" in [source["source"] for source in path["sources"]]
    assert path["position"] is None


def test_explain_works_when_the_rankers_do_not(engine: Engine) -> None:
    watched = engine.trending(1)["items"][0]["item_id"]
    engine.ingest.add_events([{"event_type": "click", "user_id": "u1", "item_id": watched}])
    broken = replace(engine.funnels.whole, rankers=())
    engine.funnels = replace(engine.funnels, whole=broken)
    best = engine.recommend(user_id="u1", n=1, log_impressions=False)["items"][0]["item_id"]
    for item, stage in ((watched, "candidates"), (best, "shown")):
        path = engine.explain("u1", item)
        assert path["stage"] == stage
        assert any(entry.startswith("ranking") for entry in path["degraded"])
        assert "had_it_been_ranked" not in path
