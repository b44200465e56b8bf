"""The loss and the measure of choices against their definitions, a list at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from upnext.training.choice_loss import choice_loss, choice_ndcg

row = st.tuples(st.integers(-20, 20), st.integers(1, 40))
lists = st.lists(st.lists(row, min_size=1, max_size=6), min_size=1, max_size=5)


def columns(given: list[list[tuple[int, int]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (quarters, so that some are equal), which row was chosen (the first), and what each stands for."""
    score = np.array([score / 4 for rows in given for score, _ in rows], np.float32)
    chosen = np.array([float(place == 0) for rows in given for place in range(len(rows))], np.float32)
    stands_for = np.array([1 if place == 0 else n for rows in given for place, (_, n) in enumerate(rows)], np.float32)
    return score, chosen, stands_for


@given(lists)
def test_the_loss_is_that_of_lists_with_every_row_repeated(given: list[list[tuple[int, int]]]) -> None:
    score, chosen, stands_for = columns(given)
    expected, first = [], 0
    for rows in given:
        part = slice(first, first + len(rows))
        repeated = np.repeat(score[part].astype(np.float64), stands_for[part].astype(int))
        expected.append(np.log(np.exp(repeated).sum()) - score[first])
        first += len(rows)
    found = choice_loss(*(torch.from_numpy(column) for column in (score, chosen, stands_for)))
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-4, abs=1e-4)


@given(lists)
def test_the_measure_counts_who_stands_before_the_choice(given: list[list[tuple[int, int]]]) -> None:
    score, chosen, stands_for = columns(given)
    expected, first = [], 0
    for rows in given:
        own, rank = score[first], 1.0
        for place in range(first + 1, first + len(rows)):
            rank += stands_for[place] * (1.0 if score[place] > own else 0.5 if score[place] == own else 0.0)
        expected.append(1 / np.log2(1 + rank))
        first += len(rows)
    assert choice_ndcg(score, chosen, stands_for) == pytest.approx(np.mean(expected), rel=1e-5)
