from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.reranking.views import DAY, NOW, at, plain_catalogue, table
from upnext.reranking.freshness import FreshnessBoost

TIMES = np.array([NOW, NOW - 3 * DAY, NOW - 6 * DAY, 0, NOW + DAY])


def test_the_boost_halves_with_every_half_life() -> None:
    items = replace(plain_catalogue(5), published_at=TIMES)
    rows = table([[0, 1, 2, 3, 4, 99]], value=[1.0] * 6)
    boosted = FreshnessBoost(lambda: items, share=0.4, half_life_days=3.0)(at(1, 10, np.array([NOW])), rows)
    np.testing.assert_allclose(boosted, [0.4, 0.2, 0.1, 0, 0.4, 0], rtol=1e-6)
    assert boosted.dtype == np.float32


def test_each_request_has_its_own_now() -> None:
    items = replace(plain_catalogue(1), published_at=np.array([NOW]))
    asked = at(2, 10, np.array([NOW, NOW + 3 * DAY]))
    boosted = FreshnessBoost(lambda: items, 0.4, 3.0)(asked, table([[0], [0]], value=[1, 1]))
    np.testing.assert_allclose(boosted, [0.4, 0.2], rtol=1e-6)


def test_without_a_share_nothing_is_added() -> None:
    rows = table([[0]], value=[0.3])
    assert FreshnessBoost(lambda: plain_catalogue(1), 0.0, 3.0)(at(1, 1, np.array([NOW])), rows).tolist() == [0]


@given(st.integers(0, 100 * DAY), st.integers(0, 100 * DAY))
def test_younger_is_never_boosted_less(age: int, older: int) -> None:
    ages = np.sort([age, older])
    items = replace(plain_catalogue(2), published_at=NOW - ages)
    young, old = FreshnessBoost(lambda: items, 0.5, 3.0)(at(1, 1, np.array([NOW])), table([[0, 1]], value=[1, 1]))
    assert young >= old >= 0
