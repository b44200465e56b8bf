from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.candidates.keys import _slot, best_of_keys, keys_of, values_of, without
from upnext.types import Candidates, Float32, Int32, Int64

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40) | st.integers(0, 2**31 - 1)), max_size=60)


def columns(pairs: list[tuple[int, int]]) -> tuple[Int64, Int32]:
    return np.array([pair[0] for pair in pairs], np.int64), np.array([pair[1] for pair in pairs], np.int32)


def some_scores(size: int) -> Float32:
    return np.random.default_rng(size).integers(-3, 9, size).astype(np.float32)  # many are equal


@given(PAIRS, PAIRS)
def test_without_drops_what_is_refused_and_keeps_the_order(
    pairs: list[tuple[int, int]], more: list[tuple[int, int]]
) -> None:
    refused = pairs[::3] + more + pairs[::3]
    key, score = without(keys_of(*columns(pairs)), some_scores(len(pairs)), keys_of(*columns(refused)))
    kept = [row for row, pair in enumerate(pairs) if pair not in refused]
    np.testing.assert_array_equal(key, keys_of(*columns(pairs))[kept])
    np.testing.assert_array_equal(score, some_scores(len(pairs))[kept])


@given(PAIRS.map(lambda pairs: list(dict.fromkeys(pairs))), PAIRS)
def test_values_are_looked_up_pair_by_pair(known: list[tuple[int, int]], more: list[tuple[int, int]]) -> None:
    wanted = sorted([*known[::2], *more, (1, -1), (3, -7)])
    request, item = columns(wanted)
    offsets = np.searchsorted(request, np.arange(5)).astype(np.int64)
    value = some_scores(len(known))
    found = values_of(keys_of(*columns(known)), value, offsets, item)
    expected = dict(zip(known, value.tolist(), strict=True))
    assert found.tolist() == [expected.get(pair, 0.0) for pair in wanted]


@given(PAIRS.map(lambda pairs: list(dict.fromkeys(pairs))), st.integers(1, 20), st.sampled_from([1, 4]))
def test_the_best_of_rows_in_any_order(pairs: list[tuple[int, int]], k: int, batch: int) -> None:
    pairs = [pair for pair in pairs if pair[0] < batch]
    score = some_scores(len(pairs))
    found = best_of_keys(keys_of(*columns(pairs)), score, batch, k)
    rows = sorted(range(len(pairs)), key=lambda row: (pairs[row][0], -score[row], pairs[row][1]))
    for request in range(batch):
        mine = [row for row in rows if pairs[row][0] == request][:k]
        one: Candidates = found.of_request(request)
        assert one.item.tolist() == [pairs[row][1] for row in mine]
        assert np.asarray(one["score"]).tolist() == score[mine].tolist()


@pytest.mark.parametrize(("requests", "items"), [(512, 1500), (1, 100_000), (100_000, 3)])
def test_the_same_items_of_many_requests_are_scattered_over_the_table(requests: int, items: int) -> None:
    keys = keys_of(np.repeat(np.arange(requests), items), np.tile(np.arange(items, dtype=np.int32), requests))
    empty = np.zeros(2 ** int(np.ceil(np.log2(2 * len(keys)))), np.int32)
    slots = {_slot(empty, keys, key) for key in keys[:: max(1, len(keys) // 20_000)].tolist()}
    assert len(slots) > 0.9 * len(keys[:: max(1, len(keys) // 20_000)])
