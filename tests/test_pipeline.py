"""The order of the stages and what happens when one fails, with small hand-made stages that really run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.pace import FEWEST_CANDIDATES, Pace
from upnext.pipeline import Funnel, boosted, first_k, fused_rank
from upnext.reranking.order import by_utility
from upnext.types import Bool, Candidates, Column, Float32, History, Order, Ragged, Requests, Slate

NOW = 1_700_000_000_000


def requests(batch: int = 1, k: int = 5, first: int = 0) -> Requests:
    empty = History.empty(batch, 4)
    return Requests(
        np.arange(first, first + batch, dtype=np.int32), np.full(batch, NOW), np.zeros(batch, np.int16), k,
        empty, empty, Ragged.empty(batch), Ragged.empty(batch),
    )  # fmt: skip


@dataclass
class Proposes:
    """A source that proposes the same items, best first, to everybody; or other ones a user."""

    name: str
    items: Callable[[int], Sequence[int]]

    def __call__(self, requests: Requests, k: int) -> Candidates:
        ragged = Ragged.of([list(self.items(user))[:k] for user in requests.user.tolist()])
        place = np.arange(len(ragged.item)) - np.repeat(ragged.offsets[:-1], np.diff(ragged.offsets))
        return Candidates(ragged.item, ragged.offsets, {"score": (100 - place).astype(np.float32)})


@dataclass
class Raises:
    """Any stage, failing."""

    name: str = "broken"
    names: tuple[str, ...] = ("b1", "b2")
    defaults: Float32 = field(default_factory=lambda: np.array([7, 8], np.float32))

    def __call__(self, requests: Requests, rows: Any) -> Any:
        raise RuntimeError("out of order\nsecond line")


@dataclass
class Answers:
    """Any stage, answering what it was told."""

    answer: Callable[[Candidates], Any]
    name: str = "odd"
    names: tuple[str, ...] = ("b1", "b2")
    defaults: Float32 = field(default_factory=lambda: np.array([7, 8], np.float32))

    def __call__(self, requests: Requests, rows: Any) -> Any:
        return self.answer(rows)


@dataclass
class Waits:
    """A source that answers when it is told to."""

    until: threading.Event
    name: str = "slow"

    def __call__(self, requests: Requests, k: int) -> Candidates:
        self.until.wait(20)
        return fixed("slow", 99)(requests, k)


@dataclass
class Below:
    limit: int
    name: str = "below"

    def __call__(self, requests: Requests, candidates: Candidates) -> Bool:
        return np.asarray(candidates.item < self.limit)


class Codes:
    names = ("code",)
    defaults = np.array([-1], np.float32)

    def __call__(self, requests: Requests, candidates: Candidates) -> Float32:
        return candidates.item[:, None].astype(np.float32)


@dataclass
class ByCode:
    """Ranker: a higher item code is better, or the other way round."""

    name: str = "by_code"
    sign: int = 1

    def __call__(self, requests: Requests, candidates: Candidates) -> Mapping[str, Column]:
        assert candidates.features is not None
        return {"p_click": (self.sign * candidates.features[:, 0]).astype(np.float32)}


@dataclass
class Reverses:
    propensity: float = 1.0
    name: str = "reverses"

    def __call__(self, requests: Requests, candidates: Candidates) -> Order:
        rows = np.lexsort((-np.arange(len(candidates)), candidates.request))
        return Order(rows, candidates.offsets, np.full(len(rows), self.propensity, np.float32))


@dataclass
class Hears:
    name: str = "hears"
    heard: list[Slate] = field(default_factory=list)
    called: threading.Event = field(default_factory=threading.Event)

    def __call__(self, requests: Requests, slate: Slate) -> None:
        self.heard.append(slate)
        self.called.set()


def fixed(name: str, *items: int) -> Proposes:
    return Proposes(name, lambda user: items)


def click(requests: Requests, candidates: Candidates) -> Float32:
    return np.asarray(candidates["p_click"], np.float32)


@dataclass
class Adds:
    """Boost: the same share for every row."""

    share: float = 0.0
    name: str = "adds"

    def __call__(self, requests: Requests, candidates: Candidates) -> Float32:
        return np.full(len(candidates), self.share, np.float32)


def funnel(sources: Sequence[Any] = (fixed("one", 3, 1, 4), fixed("two", 5, 1)), **stages: Any) -> Funnel:
    given: dict[str, Any] = {
        "filters": (), "hydrators": (Codes(),), "rankers": (ByCode(),), "value": click, "boosts": (Adds(),),
        "rerankers": (),
    }  # fmt: skip
    return Funnel(sources=[(source, 1000) for source in sources], **{**given, **stages})


def items(slate: Slate, request: int = 0) -> list[int]:
    return slate.chosen.of_request(request).item.tolist()


def test_the_order_of_the_stages_and_what_the_answer_holds() -> None:
    slate = funnel(filters=(Below(5),), rerankers=(Reverses(),))(requests(2, k=2))
    assert items(slate, 0) == items(slate, 1) == [1, 3]
    assert slate.degraded == ()
    assert [(entry.stage, entry.name) for entry in slate.trace] == [
        ("candidates", "one"), ("candidates", "two"), ("candidates", "merge"), ("candidates", "filter below"),
        ("features", "Codes"), ("ranking", "by_code"), ("ranking", "value"), ("reranking", "adds"),
        ("reranking", "reverses"),
    ]  # fmt: skip
    assert {"score_one", "score_two", "p_click", "value", "utility", "propensity"} <= set(slate.chosen.columns)
    assert slate.chosen["propensity"].tolist() == [1] * 4
    assert slate.considered.item.tolist() == [1, 3, 4] * 2 or sorted(slate.considered.of_request(0).item) == [1, 3, 4]


def test_the_trace_counts_rows_in_and_out() -> None:
    slate = funnel(filters=(Below(5), Below(2, "low")), rerankers=(Reverses(),))(requests(3, k=1))
    counts = {entry.name: (entry.rows_in, entry.rows_out) for entry in slate.trace}
    assert counts == {
        "one": (0, 9), "two": (0, 6), "merge": (15, 12), "filter below": (12, 9), "filter low": (9, 3),
        "Codes": (3, 3), "by_code": (3, 3), "value": (3, 3), "adds": (3, 3), "reverses": (3, 3),
    }  # fmt: skip
    assert all(entry.error is None and entry.ms >= 0 for entry in slate.trace)
    assert slate.took_ms >= sum(entry.ms for entry in slate.trace) * 0.5


def test_every_filter_keeps_a_table_of_what_it_removed() -> None:
    slate = funnel(filters=(Below(5), Below(9, "nothing"), Below(2, "low")))(requests(2))
    assert slate.removed.keys() == {"below", "low"}
    assert slate.removed["below"].item.tolist() == [5, 5]
    assert sorted(slate.removed["low"].of_request(1).item.tolist()) == [3, 4]
    assert slate.removed["low"].offsets.tolist() == [0, 2, 4]
    assert np.isnan(slate.removed["below"]["score_one"]).all()


@pytest.mark.parametrize("deadline", [None, 5000.0])
def test_a_source_that_raises_contributes_nothing(deadline: float | None) -> None:
    slate = funnel([fixed("one", 3, 1), Raises()])(requests(), deadline)
    assert items(slate) == [3, 1]
    assert slate.degraded == ("candidates: broken: RuntimeError: out of order",)
    assert np.isnan(slate.chosen["score_broken"]).all()
    assert [entry.error for entry in slate.trace if entry.name == "broken"] == ["RuntimeError: out of order"]


def test_a_source_that_is_late_is_left_out_in_time() -> None:
    release = threading.Event()
    try:
        slate = funnel([fixed("one", 3, 1), Waits(release)])(requests(), 600)
    finally:
        release.set()
    assert slate.took_ms < 5000
    assert items(slate) == [3, 1]
    assert "candidates: slow: late" in slate.degraded
    assert np.isnan(slate.chosen["score_slow"]).all()


def test_without_a_deadline_a_slow_source_is_waited_for() -> None:
    release = threading.Event()
    threading.Timer(0.05, release.set).start()
    slate = funnel([fixed("one", 3, 1), Waits(release)])(requests())
    assert items(slate) == [99, 3, 1]
    assert slate.degraded == ()


@pytest.mark.parametrize(
    "odd",
    [
        Answers(lambda k: None),
        Answers(lambda k: Candidates(np.array([8], np.int32), np.array([0, 1]))),  # no score
        Answers(lambda k: Candidates(np.array([8], np.int32), np.array([0, 1, 1]), {"score": np.ones(1)})),
    ],
    ids=["nothing", "no score", "another batch"],
)
@pytest.mark.parametrize("deadline", [None, 5000.0])
def test_a_source_whose_answer_makes_no_sense_contributes_nothing(odd: Answers, deadline: float | None) -> None:
    slate = funnel([odd, fixed("one", 3, 1)])(requests(), deadline)
    assert items(slate) == [3, 1]
    assert len(slate.degraded) == 1
    assert slate.degraded[0].startswith("candidates: odd: ")


@pytest.mark.parametrize("deadline", [None, 5000.0])
def test_no_source_at_all_is_an_empty_answer(deadline: float | None) -> None:
    for sources in ([], [Raises()], [fixed("one")]):
        slate = funnel(sources, rerankers=(Reverses(),), filters=(Below(5),))(requests(), deadline)
        assert items(slate) == []
        assert len(slate.considered) == 0
        assert slate.chosen.batch == 1


def test_a_filter_that_raises_removes_everything() -> None:
    slate = funnel(filters=(Below(5), Raises("blocked")))(requests(2))
    assert items(slate, 0) == items(slate, 1) == []
    assert slate.degraded == ("candidates: filter blocked: RuntimeError: out of order",)
    assert sorted(slate.removed["blocked"].of_request(0).item.tolist()) == [1, 3, 4]
    failed = next(entry for entry in slate.trace if entry.name == "filter blocked")
    assert (failed.rows_in, failed.rows_out) == (6, 0)


@pytest.mark.parametrize(
    "odd",
    [
        Answers(lambda rows: None),
        Answers(lambda rows: np.ones(len(rows) + 1, np.bool_)),
        Answers(lambda rows: np.ones((len(rows), 1), np.bool_)),
        Answers(lambda rows: np.arange(len(rows))),  # row numbers are no mask
    ],
    ids=["nothing", "too long", "a matrix", "numbers"],
)
def test_a_filter_whose_answer_makes_no_sense_removes_everything(odd: Answers) -> None:
    slate = funnel(filters=(odd,))(requests())
    assert items(slate) == []
    assert len(slate.degraded) == 1
    assert slate.degraded[0].startswith("candidates: filter odd: ")


@pytest.mark.parametrize(
    "odd",
    [
        Raises("broken"),
        Answers(lambda rows: None, "broken"),
        Answers(lambda rows: np.zeros((len(rows), 3), np.float32), "broken"),
        Answers(lambda rows: np.zeros((len(rows) + 1, 2), np.float32), "broken"),
    ],
    ids=["raises", "nothing", "too wide", "too long"],
)
def test_a_hydrator_that_fails_gives_its_defaults_and_the_others_their_own(odd: Any) -> None:
    slate = funnel(hydrators=(Codes(), odd))(requests(k=2))
    assert items(slate) == [5, 4]
    assert slate.considered.feature_names == ("code", "b1", "b2")
    assert slate.considered.features is not None
    assert slate.considered.features.tolist() == [[code, 7, 8] for code in slate.considered.item.tolist()]
    assert len(slate.degraded) == 1
    assert slate.degraded[0].startswith("features: broken: ")


def test_without_hydrators_there_are_no_features() -> None:
    ranker = Answers(lambda rows: {"p_click": rows.item.astype(np.float32)})
    slate = funnel(hydrators=(), rankers=(ranker,))(requests())
    assert items(slate) == [5, 4, 3, 1]
    assert slate.considered.features is not None
    assert slate.considered.features.shape == (4, 0)


@pytest.mark.parametrize(
    "odd",
    [
        Raises("best"),
        Answers(lambda rows: None, "best"),
        Answers(lambda rows: {"p_click": np.ones(len(rows) + 1, np.float32)}, "best"),
        Answers(lambda rows: {"score_one": np.ones(len(rows), np.float32)}, "best"),
    ],
    ids=["raises", "nothing", "too long", "takes a name"],
)
def test_when_the_first_ranker_fails_the_second_answers_and_it_is_said(odd: Any) -> None:
    slate = funnel(rankers=(odd, ByCode("lighter", -1)))(requests())
    assert items(slate) == [1, 3, 4, 5]
    assert slate.degraded[0].startswith("ranking: best: ")
    assert slate.degraded[1:] == ("ranking: fell back to lighter",)


def test_when_all_rankers_fail_the_sources_order_holds() -> None:
    slate = funnel(rankers=(Raises("first"), Raises("second")), rerankers=(Raises("mmr"),))(requests())
    assert items(slate)[0] == 1  # proposed by both sources
    np.testing.assert_array_equal(slate.chosen["value"], np.sort(fused_rank(slate.considered))[::-1])
    assert slate.degraded == (
        "ranking: first: RuntimeError: out of order",
        "ranking: second: RuntimeError: out of order",
        "ranking: fell back to the sources' order",
        "reranking: mmr: RuntimeError: out of order",
    )


def test_without_rankers_the_sources_order_is_said_too() -> None:
    slate = funnel(rankers=())(requests())
    assert items(slate)[0] == 1
    assert slate.degraded == ("ranking: fell back to the sources' order",)


def test_a_value_that_cannot_be_computed_falls_back_to_the_sources_order() -> None:
    slate = funnel(value=Raises())(requests())
    assert items(slate)[0] == 1
    np.testing.assert_array_equal(slate.considered["value"], fused_rank(slate.considered))
    assert slate.degraded == ("ranking: value: RuntimeError: out of order", "ranking: fell back to the sources' order")


@pytest.mark.parametrize("odd", [Raises(), Answers(lambda rows: None), Answers(lambda rows: np.ones(len(rows) + 1))])
def test_a_boost_that_fails_leaves_the_value(odd: Any) -> None:
    odd.name = "odd"
    slate = funnel(boosts=(Adds(0.5), odd))(requests())
    assert items(slate) == [5, 4, 3, 1]
    np.testing.assert_array_equal(slate.considered["utility"], 1.5 * slate.considered["value"])
    assert len(slate.degraded) == 1
    assert slate.degraded[0].startswith("reranking: odd: ")


def test_boosts_add_up_and_raise_negative_values_too() -> None:
    values = np.array([2.0, -2.0, 0.0], np.float32)
    np.testing.assert_allclose(
        boosted(values, [np.full(3, 0.5, np.float32), np.full(3, -0.25, np.float32)]), [2.5, -1.5, 0]
    )


def _order(rows: list[int], offsets: list[int], propensity: int | None = None) -> Answers:
    size = len(rows) if propensity is None else propensity
    return Answers(lambda _: Order(np.array(rows), np.array(offsets), np.ones(size, np.float32)))


@pytest.mark.parametrize(
    "odd",
    [
        Raises("odd"),
        Answers(lambda rows: None),
        _order([0, 99], [0, 2]),
        _order([0, -1], [0, 2]),
        _order([0, 0], [0, 2]),
        _order([0, 1], [0, 1, 2]),
        _order([0, 1], [0, 2], propensity=3),
    ],
    ids=["raises", "nothing", "invents", "negative", "repeats", "another batch", "too many propensities"],
)
def test_a_reranker_that_fails_leaves_the_order_it_was_given(odd: Any) -> None:
    slate = funnel(rerankers=(Reverses(0.5), odd))(requests())
    assert items(slate) == [1, 3, 4, 5]
    assert slate.chosen["propensity"].tolist() == [0.5] * 4
    assert len(slate.degraded) == 1
    assert slate.degraded[0].startswith("reranking: odd: ")


def test_propensities_are_multiplied_over_the_rerankers() -> None:
    first_only = Answers(lambda rows: Order(np.array([1]), np.array([0, 1]), np.array([0.25], np.float32)), "first")
    slate = funnel(rerankers=(Reverses(0.5), Reverses(0.5), first_only))(requests())
    assert items(slate) == [4]
    assert slate.chosen["propensity"].tolist() == [0.0625]
    assert slate.chosen["propensity"].dtype == np.float32


def test_an_observer_hears_of_the_answer_and_cannot_break_it(caplog: pytest.LogCaptureFixture) -> None:
    hears = Hears()
    observed = funnel(observers=(Raises("breaks"), hears))
    with caplog.at_level(logging.CRITICAL, "upnext.pipeline"):
        slate = observed(requests())
        assert hears.called.wait(20)
    assert items(slate) == [5, 4, 3, 1]
    assert slate.degraded == ()
    assert hears.heard == [slate]
    observed(requests(), observe=False)
    observed._pool.shutdown(wait=True)
    assert len(hears.heard) == 1


def test_a_slow_observer_does_not_delay_the_answer() -> None:
    release = threading.Event()
    started = time.perf_counter()
    slate = funnel(observers=(Answers(lambda slate: release.wait(20)),))(requests())
    took = time.perf_counter() - started
    release.set()
    assert took < 5
    assert items(slate) == [5, 4, 3, 1]


def many(size: int) -> Proposes:
    return Proposes("many", lambda user: range(size))


def paced(first_ms_a_row: float, size: int) -> Funnel:
    """A funnel whose earlier answers took so long that the next row is expected to take ``first_ms_a_row``."""
    made = funnel([many(size)], rankers=(ByCode("best"), ByCode("lighter", -1)))
    made._pace.ranking(1000, 10 * first_ms_a_row - 9 * 0.008)
    return made


def test_before_a_short_deadline_fewer_candidates_are_ranked() -> None:
    slate = paced(4, 1000)(requests(k=3), 2000)
    ranked = len(slate.considered)
    assert FEWEST_CANDIDATES <= ranked < 500  # 2,000 ms at 4 ms a row
    assert slate.degraded[0] == f"candidates: {ranked} of 1000 ranked to keep the deadline"
    assert sorted(slate.considered.item.tolist()) == list(range(ranked))  # those that the source put first
    assert len(items(slate)) == 3


def test_before_too_short_a_deadline_the_lighter_ranker_answers() -> None:
    slate = paced(30, 1000)(requests(k=3), 2000)
    assert len(slate.considered) == FEWEST_CANDIDATES
    assert items(slate) == [0, 1, 2]  # the lighter one prefers low codes
    assert slate.degraded[1:] == ("ranking: no time for best", "ranking: fell back to lighter")


def test_a_ranker_that_was_slow_once_gets_another_chance() -> None:
    made = paced(30, 1000)
    said = [made(requests(k=3), 2000).degraded[1:] for _ in range(40)]
    assert said[0] == ("ranking: no time for best", "ranking: fell back to lighter")
    assert said[-1] == ()


def test_without_a_deadline_or_with_enough_time_nothing_is_left_out() -> None:
    for deadline in (None, 60_000):
        slate = paced(4, 1000)(requests(k=3), deadline)
        assert items(slate) == [999, 998, 997]
        assert slate.degraded == ()


def test_the_pace_follows_what_was_measured() -> None:
    pace = Pace()
    for _ in range(100):
        pace.ranking(200, 0.2)
        pace.features(200, 0.1)
        pace.ranking(FEWEST_CANDIDATES - 1, 100)  # too few rows to tell
    assert pace.ranking_ms(500) == pytest.approx(500, rel=0.01)
    assert pace.rows_in(150) == pytest.approx(100, abs=2)
    assert pace.rows_in(-5) == 0


def test_more_asked_for_than_there_is() -> None:
    slate = funnel()(requests(2, k=50))
    assert items(slate, 0) == items(slate, 1) == [5, 4, 3, 1]


def test_no_requests() -> None:
    slate = funnel(filters=(Below(4),), rerankers=(Reverses(),))(requests(0))
    assert len(slate.chosen) == 0
    assert slate.chosen.batch == 0
    assert slate.degraded == ()


proposals = st.lists(st.lists(st.integers(0, 30), unique=True, max_size=8), min_size=1, max_size=4)


@given(one=proposals, two=proposals, k=st.integers(1, 6), limit=st.integers(0, 31))
def test_a_batch_gets_the_answers_of_its_requests_one_by_one(
    one: list[list[int]], two: list[list[int]], k: int, limit: int
) -> None:
    batch = max(len(one), len(two))
    made = funnel(
        [Proposes("one", lambda user: one[user % len(one)]), Proposes("two", lambda user: two[user % len(two)])],
        filters=(Below(limit),),
        rankers=(Answers(lambda rows: {"p_click": (rows.item % 5).astype(np.float32)}),),  # with ties
        rerankers=(Reverses(0.5),),
        total=6,
    )
    every = requests(batch, k)
    together = made(every)
    assert together.degraded == ()
    for request in range(batch):
        alone = made(every.take(request))
        row = together.chosen.of_request(request)
        np.testing.assert_array_equal(row.item, alone.chosen.item)
        for name in alone.chosen.columns:
            np.testing.assert_array_equal(row[name], alone.chosen[name], err_msg=name)
        for name, rows in alone.removed.items():
            np.testing.assert_array_equal(together.removed[name].of_request(request).item, rows.item)


scores = st.lists(st.tuples(st.integers(0, 2), st.floats(-9, 9, width=16) | st.none(), st.floats(-9, 9, width=16)))


@given(scores)
def test_fused_rank_is_the_formula(rows: list[tuple[int, float | None, float]]) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    request = np.array([row[0] for row in rows], np.int64)
    offsets = np.searchsorted(request, np.arange(4))
    table = Candidates(
        np.arange(len(rows), dtype=np.int32),
        offsets,
        {
            "score_a": np.array([np.nan if row[1] is None else row[1] for row in rows], np.float32),
            "score_b": np.array([row[2] for row in rows], np.float32),
            "p_click": np.ones(len(rows), np.float32),
        },
    )
    expected = np.zeros(len(rows))
    for name in ("score_a", "score_b"):
        score = np.asarray(table[name])
        for row in range(len(rows)):
            if not np.isnan(score[row]):
                same = [other for other in range(len(rows)) if request[other] == request[row]]
                ahead = [o for o in same if score[o] > score[row] or (score[o] == score[row] and o < row)]
                expected[row] += 1 / (60 + len(ahead))
    np.testing.assert_allclose(fused_rank(table), expected, rtol=1e-6)


def test_by_utility_and_first_k_work_a_request() -> None:
    table = Candidates(
        np.arange(6, dtype=np.int32), np.array([0, 3, 3, 6]), {"utility": np.array([1, 3, 3, 9, np.nan, 2], np.float32)}
    )
    order = by_utility(table)
    assert order.rows.tolist() == [1, 2, 0, 3, 5, 4]  # ties keep their order, what has no value comes last
    best = first_k(table.take(order.rows, order.offsets), 2)
    assert best.item.tolist() == [1, 2, 3, 5]
    assert best.offsets.tolist() == [0, 2, 2, 4]


def test_a_slate_is_frozen() -> None:
    slate = funnel()(requests())
    with pytest.raises(AttributeError):
        slate.degraded = ("x",)  # type: ignore[misc]
    with pytest.raises(TypeError):
        slate.chosen.columns["value"] = np.zeros(4)  # type: ignore[index]
    assert replace(slate, degraded=("x",)).degraded == ("x",)
