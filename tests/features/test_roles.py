"""What an event counts as, against the rules spelled out one event at a time."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests import logs
from upnext.features.roles import BASE_COLUMNS

value = st.one_of(st.just(math.nan), st.just(math.inf), st.floats(-100, 1e6, width=32))


@given(st.lists(st.tuples(st.integers(0, len(logs.TYPES) - 1), value), max_size=40))
def test_counts_are_those_of_the_rules(events: list[tuple[int, float]]) -> None:
    roles = logs.roles()
    expected = []
    for row, (code, seconds) in enumerate(events):
        name = roles.names[code]
        least = roles.least[code]
        columns = {
            "impression": float(name == "impression"),
            "exposed": float(name in ("impression", "seen")),
            "positive": float(roles.weight[code] > 0 and (math.isnan(seconds) or seconds >= least)),
        }
        expected += [(row, BASE_COLUMNS.index(column), 1.0) for column, counts in columns.items() if counts]
        for column, task in enumerate(roles.tasks.values(), start=len(BASE_COLUMNS)):
            if task.event == name:
                bounded = 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), task.cap)
                expected.append((row, column, bounded if task.kind == "seconds" else 1.0))
    kinds = np.array([code for code, _ in events], np.int16)
    values = np.array([seconds for _, seconds in events], np.float32)
    found = roles.counts(kinds, values)
    assert list(zip(*(column.tolist() for column in found), strict=True)) == expected
