"""Which outcome belongs to which impression, against brute force; and what was known at each moment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import logs
from tests.logs import START, TYPES
from upnext.config import Config, TaskConfig
from upnext.training.examples import ATTRIBUTION_MS, Examples, from_impressions, impressions_in, learnable
from upnext.types import Events

IMPRESSION, CLICK, WATCH, LIKE = (TYPES.index(name) for name in ("impression", "click", "watch", "like"))
TASKS = {
    "click": TaskConfig(event="click"),
    "long": TaskConfig(event="watch"),  # min_value 10: shorter watches are no preference
    "watch": TaskConfig(event="watch", kind="seconds", cap=50),
    "share": TaskConfig(event="share"),  # of which the log has none
}
MINUTE, END = 60_000, 2**60

Row = tuple[int, int, int, int]  # minute, type, user, item


def log(*rows: Row, value: dict[int, float] | None = None, slate: dict[int, int] | None = None) -> Events:
    """Events by minute, in the order given; ``value`` and ``slate`` (the recommendation) by row number."""
    minute, kind, user, item = np.array(rows, np.int64).reshape(-1, 4).T
    size, at = len(minute), START + minute * MINUTE
    events = Events(
        np.arange(size), kind.astype(np.int16), user.astype(np.int32), item.astype(np.int32), at, at.copy(),
        np.full(size, np.nan, np.float32), np.full(size, -1, np.int16), np.zeros(size, np.int16),
        np.zeros(size, np.int64), np.full(size, -1, np.int64),
    )  # fmt: skip
    for row, seconds in (value or {}).items():
        events.value[row] = seconds
    for row, recommendation in (slate or {}).items():
        events.recommendation[row] = recommendation
    return events


def made(events: Events, start: int = 0, until: int = END) -> Examples:
    return from_impressions(events, logs.roles(), TASKS, start, until)


def clicks(events: Events) -> dict[tuple[int, int], float]:
    """(minute, item) of each example -> its click label."""
    examples = made(events)
    minute = (examples.moments.now - START) // MINUTE
    owner = np.repeat(minute, np.diff(examples.moments.offsets))
    keys = zip(owner.tolist(), examples.moments.item.tolist(), strict=True)
    return dict(zip(keys, examples.labels["click"].tolist(), strict=True))


def test_an_outcome_belongs_to_the_impression_of_its_recommendation() -> None:
    events = log(
        (0, IMPRESSION, 1, 5), (1, IMPRESSION, 1, 5), (2, IMPRESSION, 1, 5), (3, CLICK, 1, 5),
        slate={0: 77, 1: 88, 3: 77},
    )  # fmt: skip
    assert clicks(events) == {(0, 5): 1, (1, 5): 0, (2, 5): 0}


def test_without_a_recommendation_it_belongs_to_the_latest_impression_within_a_day() -> None:
    events = log((0, IMPRESSION, 1, 5), (1, IMPRESSION, 1, 5), (2, CLICK, 1, 5), (3, IMPRESSION, 1, 5))
    assert clicks(events) == {(0, 5): 0, (1, 5): 1, (3, 5): 0}


@pytest.mark.parametrize(("minutes", "label"), [(24 * 60, 1), (24 * 60 + 1, 0)])
def test_after_a_day_an_impression_is_forgotten(minutes: int, label: int) -> None:
    assert ATTRIBUTION_MS == 24 * 60 * MINUTE
    assert clicks(log((0, IMPRESSION, 1, 5), (minutes, CLICK, 1, 5))) == {(0, 5): label}


def test_an_unknown_recommendation_falls_back_to_the_latest_impression() -> None:
    events = log((0, IMPRESSION, 1, 5), (1, CLICK, 1, 5), slate={0: 77, 1: 99})
    assert clicks(events) == {(0, 5): 1}


def test_never_to_another_user_another_item_or_a_later_impression() -> None:
    events = log(
        (0, CLICK, 1, 5), (0, IMPRESSION, 2, 5), (0, IMPRESSION, 1, 6), (0, CLICK, -1, 5), (0, CLICK, 1, 7),
        (1, IMPRESSION, 1, 5), (2, CLICK, 3, 5),
    )  # fmt: skip
    assert sum(clicks(events).values()) == 0
    same_slate = log((0, IMPRESSION, 1, 5), (0, IMPRESSION, 1, 6), (1, CLICK, 1, 6), (1, CLICK, 2, 5),
                     slate=dict.fromkeys(range(4), 77))  # fmt: skip
    assert clicks(same_slate) == {(0, 5): 0, (0, 6): 1}


def test_impressions_of_nobody_or_of_nothing_teach_nothing() -> None:
    events = log((0, IMPRESSION, -1, 5), (0, IMPRESSION, 1, -1), (1, IMPRESSION, 1, 5), (2, CLICK, -1, 5))
    assert clicks(events) == {(1, 5): 0}
    assert impressions_in(events, logs.roles()).tolist() == [1, 2]


def test_labels_add_up_and_are_capped() -> None:
    events = log(
        (0, IMPRESSION, 1, 5), (0, IMPRESSION, 1, 6), (0, IMPRESSION, 1, 7), (0, IMPRESSION, 1, 8),
        (1, WATCH, 1, 5), (2, WATCH, 1, 5), (3, WATCH, 1, 6), (4, WATCH, 1, 7), (5, WATCH, 1, 8), (6, CLICK, 1, 5),
        (7, CLICK, 1, 5), value={4: 12, 5: 9, 6: 99, 7: 4},
    )  # fmt: skip
    labels = made(events).labels
    assert labels["watch"].tolist() == [21, 50, 4, 0]  # 50 is the cap; a watch without seconds adds none
    assert labels["long"].tolist() == [1, 1, 0, 1]  # and is taken at its word
    assert labels["click"].tolist() == [1, 0, 0, 0]
    assert labels["share"].tolist() == [0, 0, 0, 0]
    assert all(label.dtype == np.float32 for label in labels.values())


def test_rows_are_grouped_by_the_slate_that_showed_them() -> None:
    events = log(
        (0, IMPRESSION, 1, 5), (0, IMPRESSION, 2, 6), (0, IMPRESSION, 1, 7), (1, IMPRESSION, 1, 8),
        (2, IMPRESSION, 1, 9), (3, IMPRESSION, 1, 3), (4, IMPRESSION, 2, 9),
        slate={4: 77, 5: 77, 6: 77},
    )  # fmt: skip
    events.position[:] = np.arange(7)
    events.surface[:] = [1, 2, 1, 3, 4, 4, 5]
    examples = made(events)
    moments = examples.moments
    assert moments.item.tolist() == [5, 7, 6, 8, 9, 3, 9]
    assert moments.offsets.tolist() == [0, 2, 3, 4, 6, 7]
    assert moments.user.tolist() == [1, 2, 1, 1, 2]
    assert examples.position.tolist() == [0, 2, 1, 3, 4, 5, 6]
    assert examples.surface.tolist() == [1, 2, 3, 4, 5]


def test_what_happens_in_the_same_millisecond_was_not_known() -> None:
    events = log((0, CLICK, 1, 4), (1, CLICK, 1, 5), (1, IMPRESSION, 1, 6), (1, CLICK, 1, 6))
    assert made(events).moments.cut.tolist() == [1]


def test_the_server_says_what_it_knew() -> None:
    """Our own impressions carry the offset that the features had seen, and the moment of the request."""
    events = log((0, CLICK, 1, 4), (1, CLICK, 1, 5), (5, IMPRESSION, 1, 6))
    events.as_of[2], events.happened_at[2] = 0, START + 2 * MINUTE
    moments = made(events).moments
    assert moments.cut.tolist() == [1]
    assert moments.now.tolist() == [START + 2 * MINUTE]
    imported = replace(events, as_of=np.full(3, -1))
    assert made(imported).moments.cut.tolist() == [2]
    assert made(imported).moments.now.tolist() == [START + 5 * MINUTE]


def test_the_window_holds_impressions_while_outcomes_are_read_to_the_end() -> None:
    events = log(*((n, IMPRESSION, 1, n) for n in range(6)), (7, CLICK, 1, 2), (8, CLICK, 1, 4))
    examples = made(events, START + 2 * MINUTE, START + 4 * MINUTE)
    assert examples.moments.item.tolist() == [2, 3]
    assert examples.labels["click"].tolist() == [1, 0]
    assert examples.moments.cut.tolist() == [2, 3]
    assert len(made(events, END)) == 0
    assert len(made(Events.empty())) == 0


def by_hand(events: Events) -> dict[str, list[float]]:
    """Labels by impression row of the log, one outcome at a time."""
    rows = [n for n in range(len(events)) if events.type[n] == IMPRESSION and events.user[n] >= 0]
    labels = {name: dict.fromkeys(rows, 0.0) for name in TASKS}

    def owner(outcome: int) -> int | None:
        same = [n for n in rows if events.user[n] == events.user[outcome] and events.item[n] == events.item[outcome]]
        slate = events.recommendation[outcome]
        mine = [n for n in same if slate and events.recommendation[n] == slate]
        earlier = [
            n for n in same if n < outcome and events.received_at[outcome] - events.received_at[n] <= ATTRIBUTION_MS
        ]
        return mine[0] if mine else (earlier[-1] if earlier else None)

    for outcome in range(len(events)):
        shown = owner(outcome) if events.user[outcome] >= 0 else None
        if shown is None:
            continue
        if events.type[outcome] == CLICK:
            labels["click"][shown] = 1.0
        if events.type[outcome] == WATCH:
            seconds = float(events.value[outcome])
            labels["long"][shown] = max(labels["long"][shown], float(seconds >= 10))
            labels["watch"][shown] += seconds
    return {name: [min(value, 50.0) for value in of.values()] for name, of in labels.items()}


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), size=st.integers(0, 120), hours=st.sampled_from([1, 100]), slates=st.integers(1, 5))
def test_labels_equal_brute_force(seed: int, size: int, hours: int, slates: int) -> None:
    events = logs.random_events(seed, size, span_ms=hours * 3_600_000)
    random = np.random.default_rng(seed)
    few = replace(
        events,
        item=random.integers(0, 3, size).astype(np.int32),
        recommendation=random.integers(0, slates, size).astype(np.int64),
    )
    examples, expected = made(few), by_hand(few)
    rows = np.flatnonzero((few.type == IMPRESSION) & (few.user >= 0))
    assert len(examples) == len(rows)
    moments = examples.moments
    owner = np.repeat(np.arange(len(moments.user)), np.diff(moments.offsets))
    slate = {}  # slate -> the examples' rows, in log order
    for row, impression in enumerate(rows.tolist()):
        key = (int(few.user[impression]), int(few.recommendation[impression] or few.received_at[impression]))
        slate.setdefault(key, []).append(row)
    order = np.array([row for of in slate.values() for row in of], np.int64)
    np.testing.assert_array_equal(np.diff(moments.offsets), [len(of) for of in slate.values()])
    np.testing.assert_array_equal(moments.item, few.item[rows[order]])
    np.testing.assert_array_equal(moments.user[owner], few.user[rows[order]])
    for name, label in examples.labels.items():
        np.testing.assert_allclose(label, np.array(expected[name])[order], rtol=1e-5, err_msg=name)
    first = rows[order][moments.offsets[:-1]]
    np.testing.assert_array_equal(moments.cut, np.searchsorted(few.received_at, few.received_at[first]))


@given(st.lists(st.integers(1, 4), max_size=8), st.integers(0, 30))
def test_latest_are_the_last_whole_requests_that_fit(sizes: list[int], rows: int) -> None:
    events = log(*((minute, IMPRESSION, 1, item) for minute, size in enumerate(sizes) for item in range(size)))
    examples = made(events)
    latest = examples.latest(rows)
    kept = next(n for n in range(len(sizes) + 1) if sum(sizes[n:]) <= rows)
    assert np.diff(latest.moments.offsets).tolist() == sizes[kept:]
    assert latest.moments.offsets[0] == 0
    size = len(latest)
    assert len(latest.moments.user) == len(latest.moments.now) == len(latest.moments.cut) == len(latest.surface)
    np.testing.assert_array_equal(latest.moments.item, examples.moments.item[len(examples) - size :])
    np.testing.assert_array_equal(latest.moments.now, examples.moments.now[kept:])
    np.testing.assert_array_equal(latest.position, examples.position[len(examples) - size :])
    assert {len(label) for label in latest.labels.values()} == {size}


def test_a_task_needs_examples_of_both_kinds() -> None:
    roles, tasks = logs.roles(), Config().ranking.tasks
    shown = [(n, IMPRESSION, 1, n) for n in range(60)]
    clicked = [(60 + n, CLICK, 1, n) for n in range(45)]
    liked = [(60 + n, LIKE, 1, n) for n in range(25)]
    watched = [(60 + n, WATCH, 1, n) for n in range(60)]
    events = log(*shown, *clicked, *liked, *watched, value={60 + 45 + 25 + n: 30.0 for n in range(60)})
    examples = from_impressions(events, roles, tasks, 0, END)
    assert set(learnable(examples, tasks)) == {"like", "watch"}  # too few without a click; none shared
    assert set(learnable(examples, tasks, least=15)) == {"click", "like", "watch"}
    assert learnable(made(Events.empty()), TASKS) == {}
