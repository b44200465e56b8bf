"""The safety net's order, against a plain sort; and that it is made anew when there is news."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from upnext.serving.popular import first_items


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
