from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.config import BecauseYouWatchedConfig
from upnext.training import co_visitation
from upnext.training.co_visitation import BUSY, DIRECTED, TILT, VISITS_A_USER, fit_co_visitation, recency
from upnext.training.interactions import Interactions
from upnext.training.progress import Silent
from upnext.types import Float64

DAY_MS = 86_400_000


def interactions(histories: list[list[int]], items: int, step_ms: int = 1000) -> Interactions:
    """The users' events interleaved, as a log has them."""
    rows = [(place, user, item) for user, history in enumerate(histories) for place, item in enumerate(history)]
    place, user, item = np.array(sorted(rows), np.int64).reshape(-1, 3).T
    weight = np.ones(len(rows), np.float32)
    return Interactions(user.astype(np.int32), item.astype(np.int32), weight, place * step_ms, len(histories), items)


def table(histories: list[list[int]], items: int, **settings: float) -> Float64:
    config = BecauseYouWatchedConfig.model_validate({"shrinkage": 2.0, "window": 2, **settings})
    found = fit_co_visitation(interactions(histories, items), config, Silent())
    dense = np.zeros((items, items))
    dense[np.repeat(np.arange(items), np.diff(found.indptr)), found.indices] = found.data
    return dense


def by_hand(histories: list[list[int]], items: int, shrinkage: float, window: int) -> Float64:
    pairs: dict[tuple[int, int], float] = defaultdict(float)
    for history in histories:
        visits = history[:1] + [after for before, after in pairwise(history) if after != before]
        for one in set(visits):
            for other in set(visits) - {one}:
                pairs[one, other] += len(set(visits)) ** -BUSY
        for place, one in enumerate(visits):
            for gap, other in enumerate(visits[place + 1 : place + 1 + window], start=1):
                if one != other:
                    pairs[one, other] += DIRECTED / gap
    count = [sum(item in history for history in histories) for item in range(items)]
    dense = np.zeros((items, items))
    for (one, other), amount in pairs.items():
        dense[one, other] = amount / (count[one] ** TILT * count[other] ** (1 - TILT) + shrinkage)
    return dense


histories_of_6 = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), min_size=1, max_size=6)


@given(histories_of_6, st.integers(0, 3))
def test_equals_the_formula(histories: list[list[int]], window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(co_visitation, "FLOOR", 1.0)  # by_hand knows no recency
        found = table(histories, 6, window=window)
    np.testing.assert_allclose(found, by_hand(histories, 6, 2.0, window), rtol=1e-5)


@given(histories_of_6)
def test_slices_of_the_product_change_nothing(histories: list[list[int]]) -> None:
    whole = table(histories, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(co_visitation, "CELLS", 3)
        np.testing.assert_array_equal(table(histories, 6), whole)


def test_direction_and_distance_count() -> None:
    found = table([[0, 1, 2, 3]] * 3, 4)
    assert found[0, 1] > found[1, 0] > 0
    assert found[0, 1] > found[0, 2] > found[0, 3] > 0


def test_click_watch_like_of_one_item_are_one_visit() -> None:
    np.testing.assert_allclose(table([[0, 0, 0, 1, 1, 2], [2, 1]], 3), table([[0, 1, 2], [2, 1]], 3), rtol=1e-5)


def test_keeps_the_most_similar_neighbours_best_first() -> None:
    histories = [[0, 1], [0, 1], [0, 2], [0, 1, 3], [0, 2, 4]]
    full = table(histories, 5)
    found = fit_co_visitation(
        interactions(histories, 5), BecauseYouWatchedConfig(neighbours=2, shrinkage=2.0, window=2), Silent()
    )
    assert np.diff(found.indptr).max() == 2
    first = found.indices[: found.indptr[1]]
    np.testing.assert_array_equal(first, np.argsort(-full[0], kind="stable")[:2])
    assert np.diff(found.data[: found.indptr[1]]) <= 0


def test_only_the_latest_visits_of_a_user_count() -> None:
    late = [1 + n % 3 for n in range(VISITS_A_USER)]
    found = table([[0, *late], [0, 1]], 4)
    assert found[0, 2] == 0
    assert found[0, 1] > 0
    assert found[1, 2] > 0


def test_late_steps_count_more() -> None:
    user = np.repeat(np.arange(4, dtype=np.int32), 2)
    item = np.array([0, 1, 0, 1, 0, 2, 0, 2], np.int32)  # first people went on to 1, a year later to 2
    at = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int64) * 365 * DAY_MS
    log = Interactions(user, item, np.ones(8, np.float32), at, 4, 3)
    found = fit_co_visitation(log, BecauseYouWatchedConfig(), Silent())
    np.testing.assert_array_equal(found.indices[: found.indptr[1]], [2, 1])


def test_recency_is_one_on_average_and_has_a_floor() -> None:
    weight = recency(np.arange(0, 300 * DAY_MS, DAY_MS))
    assert weight.mean() == pytest.approx(1)
    assert (np.diff(weight) > 0).all()
    assert weight[-1] / weight[0] == pytest.approx(10, rel=0.02)
    np.testing.assert_array_equal(recency(np.full(5, 1234)), np.ones(5))
    assert len(recency(np.empty(0, np.int64))) == 0


def test_nothing_to_learn_from() -> None:
    assert table([[3]], 5).sum() == 0
    empty = fit_co_visitation(interactions([], 4), BecauseYouWatchedConfig(), Silent())
    assert len(empty) == 4
    assert len(empty.data) == 0
