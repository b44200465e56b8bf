from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.candidates.merge import merge
from upnext.types import Candidates

QUOTAS = {"als": 4, "trending": 2, "new": 8}
BATCH = 3

lists = st.lists(st.lists(st.integers(0, 12), unique=True, max_size=8), min_size=BATCH, max_size=BATCH)
several = st.tuples(lists, lists, lists).map(lambda rows: dict(zip(QUOTAS, rows, strict=True)))


def proposed(rows: list[list[int]]) -> Candidates:
    """Items best first, scored 1, 1/2, 1/3..."""
    item = np.array([item for row in rows for item in row], np.int32)
    offsets = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)
    score = np.array([1 / (rank + 1) for row in rows for rank in range(len(row))], np.float32)
    return Candidates(item, offsets, {"score": score})


@given(several)
def test_is_the_union_with_every_score(rows: dict[str, list[list[int]]]) -> None:
    merged = merge({name: proposed(row) for name, row in rows.items()}, QUOTAS, 1000)
    assert list(merged.columns) == ["score_als", "score_trending", "score_new"]
    for request in range(BATCH):
        one = merged.of_request(request)
        assert sorted(one.item.tolist()) == sorted({item for row in rows.values() for item in row[request]})
        for name, row in rows.items():
            expected = {item: np.float32(1 / (rank + 1)) for rank, item in enumerate(row[request])}
            scores = [expected.get(item, np.float32(np.nan)) for item in one.item.tolist()]
            np.testing.assert_array_equal(one[f"score_{name}"], np.array(scores, np.float32))


@given(several, st.integers(0, 12))
def test_keeps_the_best_shares_of_the_quotas(rows: dict[str, list[list[int]]], total: int) -> None:
    proposals = {name: proposed(row) for name, row in rows.items()}
    merged, whole = merge(proposals, QUOTAS, total), merge(proposals, QUOTAS, 1000)
    for request in range(BATCH):
        best: dict[int, tuple[float, int]] = {}
        for source, (name, row) in enumerate(rows.items()):
            for rank, item in enumerate(row[request], start=1):
                best[item] = min(best.get(item, (np.inf, 0)), (rank / QUOTAS[name], source))
        expected = sorted(best, key=lambda item: (*best[item], item))
        assert whole.of_request(request).item.tolist() == expected
        assert merged.of_request(request).item.tolist() == expected[:total]


def test_every_source_loses_the_same_share() -> None:
    proposals = {"als": proposed([[0, 1, 2, 3]]), "trending": proposed([[10, 11]]), "new": proposed([[*range(20, 28)]])}
    merged = merge(proposals, QUOTAS, 7)
    kept = [np.count_nonzero(~np.isnan(np.asarray(merged[f"score_{name}"], np.float32))) for name in QUOTAS]
    assert kept == [2, 1, 4]


def test_a_batch_equals_single_requests() -> None:
    rows = {"als": [[1, 2], [], [5, 6, 7]], "trending": [[2, 9], [9], [6]], "new": [[], [4], [8, 5]]}
    merged = merge({name: proposed(row) for name, row in rows.items()}, QUOTAS, 4)
    for request in range(BATCH):
        alone = merge({name: proposed([row[request]]) for name, row in rows.items()}, QUOTAS, 4)
        np.testing.assert_array_equal(merged.of_request(request).item, alone.item)
        for name in alone.columns:
            np.testing.assert_array_equal(merged.of_request(request)[name], alone[name])


def test_nothing_proposed_is_an_empty_table() -> None:
    merged = merge({name: proposed([[], []]) for name in QUOTAS}, QUOTAS, 10)
    assert merged.batch == 2
    assert len(merged) == 0
    assert "score_als" in merged


def test_no_sources_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one source"):
        merge({}, QUOTAS, 10)
