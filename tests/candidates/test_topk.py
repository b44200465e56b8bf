import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from upnext.candidates.topk import best, best_of_matrix
from upnext.types import Candidates, Float32


def by_sorting(request: np.ndarray, item: np.ndarray, score: np.ndarray, batch: int, k: int) -> list[list[tuple]]:
    rows = [sorted((-score[n], item[n]) for n in np.flatnonzero(request == row))[:k] for row in range(batch)]
    return [[(int(item), -score) for score, item in row] for row in rows]


def as_lists(found: Candidates) -> list[list[tuple]]:
    assert (found.item.dtype, found.offsets.dtype, found["score"].dtype) == (np.int32, np.int64, np.float32)
    ranges = zip(found.offsets[:-1], found.offsets[1:], strict=True)
    return [list(zip(found.item[a:b].tolist(), found["score"][a:b], strict=True)) for a, b in ranges]


def some_scores(seed: int, shape: tuple[int, ...], digits: int) -> Float32:
    """Scores of all magnitudes; few digits make ties."""
    rng = np.random.default_rng(seed)
    drawn = np.round(rng.normal(size=shape), digits) * 10.0 ** rng.integers(-20, 20, shape)
    scores = np.where(rng.random(shape) < 0.2, 0, drawn if digits > 1 else np.round(rng.normal(size=shape)))
    return (scores + 0).astype(np.float32)  # no -0, which is less than 0 to the loop and equal to it elsewhere


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 200), st.integers(0, 60), st.integers(0, 5))
def test_the_best_of_each_request_are_the_first_when_sorted(seed: int, batch: int, n: int, k: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    request = np.sort(rng.integers(0, batch, n))
    item = np.arange(n, dtype=np.int32)
    score = some_scores(seed, (n,), digits)
    assert as_lists(best(request, item, score, batch, k)) == by_sorting(request, item, score, batch, k)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 200), st.integers(0, 60), st.integers(0, 5))
def test_the_best_of_a_matrix_are_its_highest_positive_scores(
    seed: int, batch: int, items: int, k: int, digits: int
) -> None:
    scores = some_scores(seed, (batch, items), digits)
    request, item = np.nonzero(scores > 0)
    expected = by_sorting(request, item, scores[request, item], batch, k)
    assert as_lists(best_of_matrix(scores, k)) == expected
