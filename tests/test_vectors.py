"""Half-precision vectors against numpy's own conversion and a dictionary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.vectors import Vectors, save_vectors


def test_every_half_is_read_as_numpy_reads_it() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)].reshape(-1, 4)
    np.testing.assert_array_equal(Vectors(finite)[np.arange(len(finite))], finite.astype(np.float32))


CHANGES = st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=5, unique=True), max_size=6)


@given(st.integers(0, 20), CHANGES, st.lists(st.integers(-3, 60)))
def test_what_was_put_last_is_read(first: int, changes: list[list[int]], asked: list[int]) -> None:
    rng = np.random.default_rng(first)
    start = rng.standard_normal((first, 3)).astype(np.float32)
    vectors, expected = Vectors(start), dict(enumerate(start))
    for codes in changes:
        fresh = rng.standard_normal((len(codes), 3)).astype(np.float32)
        vectors.put(np.array(codes, np.int32), fresh)
        expected.update(zip(codes, fresh, strict=True))
    assert len(vectors) == max(expected, default=-1) + 1
    codes_asked = np.array(asked, np.int32)
    wanted = np.array([expected.get(code, np.zeros(3)) for code in asked], np.float32).reshape(-1, 3)
    np.testing.assert_array_equal(vectors[codes_asked], wanted.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(vectors.known(codes_asked), [code in expected for code in asked])
    grid = np.array([[0, -1], [1, 99]])
    assert vectors.known(grid).tolist() == [[0 in expected, False], [1 in expected, False]]
    np.testing.assert_array_equal(vectors[grid].reshape(4, 3), vectors[grid.ravel()])


def test_a_file_is_mapped_and_changes_stay_in_memory(tmp_path: Path) -> None:
    path, whole = tmp_path / "vectors.npy", np.arange(20, dtype=np.float32).reshape(10, 2)
    save_vectors(path, [whole[:4], whole[4:]], 10, 2)
    vectors = Vectors.load(path)
    vectors.put(np.array([3, 12], np.int32), np.full((2, 2), 7, np.float32))
    assert vectors[np.array([2, 3, 11, 12])].tolist() == [[4, 5], [7, 7], [0, 0], [7, 7]]
    np.testing.assert_array_equal(Vectors.load(path)[np.arange(10)], whole)
    np.save(path, whole[0])
    with pytest.raises(ValueError, match="no item vectors"):
        Vectors.load(path)


def test_a_vector_of_zeros_is_none() -> None:
    rows = np.array([[0.0, -0.0], [0, 6e-8], [-1, 0]], np.float16)
    assert Vectors(rows).known(np.arange(3)).tolist() == [False, True, True]


def test_what_is_too_large_for_half_precision_stays_finite() -> None:
    found = Vectors(np.array([[1e9, -1e9, 0.1]], np.float32))[np.array([0])]
    np.testing.assert_allclose(found, [[65504, -65504, 0.1]], rtol=1e-3)


@pytest.mark.parametrize("parts", [[4], [4, 7]])
def test_too_few_or_too_many_are_refused(parts: list[int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"vectors\.npy: vectors of"):
        save_vectors(tmp_path / "vectors.npy", [np.zeros((n, 2), np.float32) for n in parts], 10, 2)


def test_no_items_at_all(tmp_path: Path) -> None:
    save_vectors(tmp_path / "vectors.npy", [], 0, 8)
    vectors = Vectors.load(tmp_path / "vectors.npy")
    assert len(vectors) == 0
    vectors.put(np.array([2], np.int32), np.ones((1, 8), np.float32))
    assert vectors[np.array([0, 2])].sum(axis=1).tolist() == [0, 8]
