"""The safety net's order, against a plain sort; and that it is made anew when there is news."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from upnext.serving.popular import QUICK_S, SHARE, _Listed, first_items


@given(
    st.lists(st.tuples(st.sampled_from([0.0, -1.0, 0.5, 0.5, 1e-30, 3.0, 1e9]), st.integers(0, 5)), max_size=60),
    st.integers(0, 70),
    st.integers(0, 60),
)
def test_popular_ones_first_then_the_newest_of_equal_ones_the_lower(
    rows: list[tuple[float, int]], size: int, counted: int
) -> None:
    popularity = np.array([count for count, _ in rows], np.float32)[:counted]
    published_at = np.array([at for _, at in rows], np.int64)
    found = first_items(popularity, published_at, size)

    def order(code: int) -> tuple[float, float, int]:
        count = float(popularity[code]) if code < len(popularity) else 0.0
        return (-count, 0.0, code) if count > 0 else (0.0, -float(published_at[code]), code)

    assert found.tolist() == sorted(range(len(rows)), key=order)[:size]


def test_a_list_is_made_anew_at_once_where_that_is_quick_and_after_a_while_where_it_is_not() -> None:
    nothing = np.empty(0, np.int32), np.empty(0, np.float32)
    quick = _Listed(*nothing, True, (0, 0, 0), 100.0, QUICK_S / 2)
    dear = _Listed(*nothing, True, (0, 0, 0), 100.0, 0.2)
    assert quick.old_enough(100.0)
    assert not dear.old_enough(100.0 + 0.9 * SHARE * 0.2)
    assert dear.old_enough(100.0 + 1.1 * SHARE * 0.2)
