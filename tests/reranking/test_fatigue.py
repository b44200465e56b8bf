from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reranking.views import NOW, at, table
from upnext.reranking.fatigue import HOUR_MS, Fatigue
from upnext.types import History, Requests

Seen = list[tuple[int, int]]
"""(item, hours ago)"""


def history(rows: list[Seen], size: int = 8) -> History:
    empty = History.empty(len(rows), size)
    for row, events in enumerate(rows):
        for place, (item, hours) in enumerate(sorted(events, key=lambda event: -event[1]), start=size - len(events)):
            empty.item[row, place], empty.at[row, place] = item, NOW - hours * HOUR_MS
    return empty


def asked(shown: list[Seen], acted: list[Seen] | None = None) -> Requests:
    batch = len(shown)
    requests = at(batch, 10, np.full(batch, NOW))
    return replace(requests, shown=history(shown), acted=history(acted or [[]] * batch))


def test_each_impression_takes_its_share_and_wears_off() -> None:
    requests = asked([[(1, 0), (2, 24), (3, 0), (3, 0)]])
    found = Fatigue(0.5, 24.0)(requests, table([[1, 2, 3, 4]], value=[1] * 4))
    np.testing.assert_allclose(found, [-0.5, 0.5**0.5 - 1, -0.75, 0], rtol=1e-6)
    assert found.dtype == np.float32


def test_what_the_user_answered_is_fresh_until_it_is_shown_again() -> None:
    requests = asked([[(1, 5), (2, 5), (2, 1)]], [[(1, 4), (2, 4)]])
    found = Fatigue(0.5, 1e9)(requests, table([[1, 2]], value=[1, 1]))
    np.testing.assert_allclose(found, [0, -0.5], atol=1e-6)


def test_each_request_has_a_history_of_its_own() -> None:
    requests = asked([[(1, 0)], [(2, 0)], []])
    found = Fatigue(0.5, 24.0)(requests, table([[1, 2], [1, 2], [1, 2]], value=[1] * 6))
    np.testing.assert_allclose(found, [-0.5, 0, 0, -0.5, 0, 0])


@pytest.mark.parametrize("requests", [asked([[]]), asked([[(7, 0)]])])
def test_without_a_past_or_a_share_nothing_changes(requests: Requests) -> None:
    rows = table([[1, 2]], value=[1, 1])
    assert Fatigue(0.5, 24.0)(requests, rows).tolist() == [0, 0]
    assert Fatigue(0.0, 24.0)(requests, rows).tolist() == [0, 0]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 200)), max_size=8))
def test_is_a_loss_of_less_than_all_that_grows_with_every_impression(seen: Seen) -> None:
    rows = table([[0, 1, 2, 3]], value=[1] * 4)
    before, after = (Fatigue(0.5, 24.0)(asked([events]), rows) for events in (seen[1:], seen))
    assert ((after > -1) & (after <= before) & (before <= 0)).all()


def by_the_formula(shown: Seen, acted: Seen, item: int) -> float:
    answered = min((hours for code, hours in acted if code == item), default=1e9)
    fresh = sum(2.0 ** (-hours / 24) for code, hours in shown if code == item and hours < answered)
    return float((1 - 0.3) ** fresh - 1)


SEEN = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 200)), max_size=8)


@given(st.lists(st.tuples(SEEN, SEEN), min_size=1, max_size=3))
def test_is_the_formula_for_every_request(users: list[tuple[Seen, Seen]]) -> None:
    requests = asked([shown for shown, _ in users], [acted for _, acted in users])
    found = Fatigue(0.3, 24.0)(requests, table([[3, 1, 0, 2]] * len(users), value=[1] * 4 * len(users)))
    expected = [by_the_formula(shown, acted, item) for shown, acted in users for item in (3, 1, 0, 2)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
