import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.candidates.index import ItemIndex
from upnext.candidates.nearest import nearest, pair_scores


@pytest.mark.parametrize("size", [1, 15, 16, 17, 40])
def test_pair_scores_are_inner_products_and_zero_outside(size: int) -> None:
    rng = np.random.default_rng(size)
    users, vectors = (rng.normal(size=(n, size)).astype(np.float32) for n in (3, 20))
    place, offsets = rng.integers(-3, 25, 50).astype(np.int32), np.array([0, 20, 20, 50])
    found = pair_scores(users, vectors, place, offsets)
    inside = (place >= 0) & (place < 20)
    request = np.repeat(np.arange(3), np.diff(offsets))
    exact = (users[request].astype(np.float64) * vectors[np.where(inside, place, 0)]).sum(1) * inside
    assert found == pytest.approx(exact, abs=1e-5)
    alone = pair_scores(users[2:], vectors, place[20:], np.array([0, 30]))
    assert np.array_equal(found[20:], alone)


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.booleans())
def test_the_nearest_are_the_best_that_are_wanted(seed: int, k: int, positive: bool) -> None:
    """Few distinct vectors, so that there are ties; some items are removed, some added later."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (20, 3)).astype(np.float32)
    index = ItemIndex.build(np.arange(15, dtype=np.int32), vectors[:15])
    index.remove(rng.integers(0, 20, 3).astype(np.int32))
    index.add(np.arange(13, 20, dtype=np.int32), vectors[13:])
    queries = rng.integers(-1, 2, (3, 3)).astype(np.float32)
    request, item = rng.integers(0, 3, 12), rng.integers(0, 20, 12).astype(np.int32)
    above = 0.0 if positive else -np.inf
    found = nearest(index, queries, (request, item), k, above)
    there = index.codes()
    for row in range(3):
        wanted = [code for code in there.tolist() if code not in item[request == row]]
        scores = {code: float(vectors[code] @ queries[row]) for code in wanted}
        expected = sorted((code for code in wanted if scores[code] > above), key=lambda code: (-scores[code], code))
        mine = found.of_request(row)
        assert mine.item.tolist() == (expected[:k] if queries[row].any() else [])
        assert mine["score"].tolist() == [scores[code] for code in mine.item.tolist()]
