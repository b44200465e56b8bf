"""The funnel without HTTP, on a small home whose index is exact."""

from __future__ import annotations

import pytest

from upnext.bench.inside import _answer, look_inside
from upnext.bench.run import active_users
from upnext.home import Home
from upnext.serving.engine import Engine


def test_an_exact_index_is_as_good_as_an_exact_search(home: Home) -> None:
    users = active_users(home)[:30]
    found = look_inside(home, users, 20)
    assert (found.recall, found.overlap) == (1.0, 1.0)
    assert len(found.total) == len(found.search) == len(found.ranker) == len(users)
    for total, search, ranker in zip(found.total, found.search, found.ranker, strict=True):
        assert search > 0
        assert ranker > 0
        assert search + ranker < total
    assert 0 < found.history <= home.config.ranking.history_size


def test_it_answers_what_the_engine_answers(home: Home) -> None:
    user = active_users(home)[0]
    with Engine(home) as engine:
        said = engine.recommend(user_id=user, n=10, log_impressions=False)
        now = engine.clock.now()
        slate, vector = _answer(engine, int(engine.live.users.ids.encode([user])[0]), now)
        shown = [engine.live.catalogue.ids.names[code] for code in slate.tolist()]
    assert len(vector) == 1
    assert abs(float((vector**2).sum()) - 1) < 1e-3
    assert shown == [row["item_id"] for row in said["items"]]


def test_a_home_without_a_model_cannot_be_looked_into(bare: Home) -> None:
    with pytest.raises(ValueError, match="only a home with a trained two-tower model"):
        look_inside(bare, ["u"], 1)
