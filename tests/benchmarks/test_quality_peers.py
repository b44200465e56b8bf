"""The peers that need only numpy and scipy, against the formulas written out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.quality.lists import Top
from benchmarks.quality.peers import attributes, ease, knn, popularity
from benchmarks.quality.running import read_fitted
from benchmarks.quality.split import Lists, Split

RANDOM = np.random.default_rng(3)
ITEMS = 15
ROWS = [RANDOM.permutation(ITEMS - 1)[: RANDOM.integers(2, 8)].tolist() for _ in range(40)]  # the last item is new
SPLIT = Split(
    users=np.arange(40).astype(np.str_),
    items=np.arange(ITEMS).astype(np.str_),
    fit=Lists.of(ROWS),
    fit_at=np.empty(0, np.int64),
    history=Lists.of(ROWS),
    truth=Lists.of([[ITEMS - 1]] * 40),
    attributes=Lists.of([[item % 3, 3 + item % 2] for item in range(ITEMS)]),
    ordered=True,
    now=0,
)
USERS = np.arange(40)
SEEN = np.zeros((40, ITEMS))
for _row, _items in enumerate(ROWS):
    SEEN[_row, _items] = 1
COUNT = SEEN.sum(axis=0)


def shrunk(together: np.ndarray) -> np.ndarray:
    found = together / (np.sqrt(np.outer(COUNT, COUNT)) + 20)
    np.fill_diagonal(found, 0)
    return found


def decayed(decay: float) -> np.ndarray:
    history = np.zeros((40, ITEMS))
    for row, items in enumerate(ROWS):
        for back, item in enumerate(reversed(items)):
            history[row, item] = decay**back
    return history


def finite(scores: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(scores), scores, 0)


def test_cosine_with_shrinkage() -> None:
    got = knn.fit_cosine(SPLIT, {"decay": 0.8}, 0)(SPLIT, USERS)
    np.testing.assert_allclose(finite(got), decayed(0.8) @ shrunk(SEEN.T @ SEEN), rtol=1e-4, atol=1e-6)


def test_directed_counts_steps_forward_only() -> None:
    steps = np.zeros((ITEMS, ITEMS))
    for items in ROWS:
        for first, item in enumerate(items):
            for gap, later in enumerate(items[first + 1 : first + 4], start=1):
                steps[item, later] += 1 / gap
    got = knn.fit_directed(SPLIT, {"decay": 0.8, "directed": 0.5}, 0)(SPLIT, USERS)
    wanted = decayed(0.8) @ (shrunk(SEEN.T @ SEEN) + 0.5 * shrunk(steps))
    np.testing.assert_allclose(finite(got), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("block", [1, 4, 5, 2048])
def test_ease_is_the_closed_form(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "BLOCK", block)  # of columns inverted at once
    got = ease.fit(SPLIT, {"l2": 5.0}, 0)(SPLIT, USERS)
    inverse = np.linalg.inv(SEEN[:, :-1].T @ SEEN[:, :-1] + 5 * np.eye(ITEMS - 1))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    wanted = np.maximum(SEEN[:, :-1] @ weights, 0)
    np.testing.assert_allclose(finite(got)[:, :-1], wanted, rtol=1e-3, atol=1e-4)
    assert np.isneginf(got[:, -1]).all()


def test_popularity_leaves_out_what_nobody_turned_to() -> None:
    got = popularity.fit_all_time(SPLIT, {}, 0)(SPLIT, USERS[:1])[0]
    np.testing.assert_array_equal(finite(got), COUNT)


def test_attributes_find_a_new_item() -> None:
    got = attributes.fit(SPLIT, {"decay": 1.0}, 0)(SPLIT, USERS)
    assert (got[:, -1] > 0).any()


def test_fitting_leaves_the_split_as_it_was() -> None:
    for method in (*popularity.METHODS, *knn.METHODS, *attributes.METHODS, *ease.METHODS):
        if method.fits(SPLIT):
            method.fit(SPLIT, method.settings[0], 0)(SPLIT, USERS)
    assert [SPLIT.fit[row].tolist() for row in range(40)] == ROWS == [SPLIT.history[row].tolist() for row in range(40)]


def test_lists_that_were_fitted_apart_are_of_the_same_split(tmp_path: Path) -> None:
    top = Top.in_order(np.tile(np.arange(3, dtype=np.int32), (40, 1)))
    top.save(tmp_path / "ease-0.npz")
    entry = {"name": "EASE", "files": ["ease-0.npz"], "fit seconds": [7.0], "note": "l2 200"}
    (tmp_path / "peers.json").write_text(json.dumps([entry]), encoding="utf-8")
    SPLIT.save(tmp_path / "test.npz")
    (peer,) = read_fitted(tmp_path, "gowalla", SPLIT)
    assert (peer.name, peer.fit_seconds, peer.note) == ("EASE", [7.0], "fitted apart: l2 200")
    assert np.array_equal(peer.runs[0].item, top.item)
    with pytest.raises(SystemExit, match="another split"):
        read_fitted(tmp_path, "gowalla", replace(SPLIT, truth=Lists.of([[0]] * 40)))
    with pytest.raises(SystemExit, match="no lists for toys"):
        read_fitted(tmp_path / "elsewhere", "toys", SPLIT)
