"""What counts as keeping up, who is asked for, and what a number of candidates sets."""

from __future__ import annotations

import polars as pl
import pytest

from tests.bench.conftest import asked
from upnext.bench.drive import Asked
from upnext.bench.run import LONG_HISTORY, AtRate, Measured, _with_candidates, active_users
from upnext.home import Home
from upnext.serving.engine import Engine


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (asked([50.0] * 100), True),
        (asked([50.0] * 98 + [101.0] * 2), False),  # p99
        (asked([50.0] * 999 + [5000.0]), True),  # a single one is beyond p99
        (asked([50.0] * 99, refused=1), True),  # 1 %
        (asked([50.0] * 98, refused=2), False),
        (asked([50.0] * 98, refused=1, failed=1), False),
        (asked([], refused=10), False),
        (asked([]), False),
    ],
)
def test_a_rate_is_kept_if_answers_are_quick_and_hardly_any_is_missing(found: Asked, kept: bool) -> None:
    assert AtRate(10, found).kept is kept


def test_answers_a_second_and_the_share_that_got_none() -> None:
    rate = AtRate(40, asked([1.0] * 60, refused=15, failed=5, seconds=2.0))
    assert (rate.answered, rate.refused) == (30.0, 0.25)
    assert AtRate(40, asked([])).refused == 0.0


def test_the_best_rate_is_the_last_that_was_kept(measured: Measured) -> None:
    assert measured.best_rate is measured.rates[0]
    measured.rates = measured.rates[1:]
    assert measured.best_rate is None


@pytest.mark.parametrize("number", [1, 100, 4000, 20_000])
def test_quotas_change_in_proportion_and_the_funnel_takes_them(home: Home, number: int) -> None:
    c = home.config.candidates
    settings = _with_candidates(home.config, number)
    changed = Home.open(home.directory, settings)
    assert changed.config.candidates.total == number
    for name in ("als", "two_tower", "trending"):
        before, after = getattr(c, name).quota, getattr(changed.config.candidates, name).quota
        assert after == max(1, round(before * number / c.total))
    with Engine(changed) as engine:
        said = engine.recommend(user_id="u1", n=3)
    (ranked,) = {stage["rows_in"] for stage in said["stages"] if stage["stage"] == "ranking"}
    assert 0 < ranked <= number
    assert len(said["items"]) == 3


def acts(home: Home, counts: dict[str, int], event_type: str = "click") -> None:
    log = home.log()
    rows = [(user, n) for user, count in counts.items() for n in range(count)]
    log.append_events(
        pl.DataFrame(
            {
                "event_type": [event_type] * len(rows),
                "user_id": [user for user, _ in rows],
                "item_id": [f"i{n}" for _, n in rows],
                "happened_at": [1_700_000_000_000 + n for _, n in rows],
            }
        )
    )
    log.close()


def test_users_with_long_histories_are_asked_for(bare: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upnext.bench.run.USERS", 2)
    acts(bare, {"shown": LONG_HISTORY * 2}, "impression")  # being shown something is no act
    acts(bare, {"short": LONG_HISTORY - 1, "a": LONG_HISTORY, "b": LONG_HISTORY + 1, "c": LONG_HISTORY})
    chosen = active_users(bare)
    assert len(chosen) == 2
    assert set(chosen) <= {"a", "b", "c"}
    assert chosen == active_users(bare)


def test_where_histories_are_short_it_is_those_with_the_longest(bare: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upnext.bench.run.USERS", 2)
    acts(bare, {"one": 1, "three": 3, "two": 2})
    assert set(active_users(bare)) == {"two", "three"}
    assert active_users(Home.open(bare.directory))
