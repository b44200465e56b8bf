from __future__ import annotations

from dataclasses import replace

import numpy as np

from upnext.ranking.value import WeightedSum, weighted_sum
from upnext.stages import Value
from upnext.testing.reranker_contract import requests
from upnext.types import Candidates, Column

COLUMNS = {"click": "p_click", "like": "p_like", "watch": "watch_seconds"}


def rows(**columns: list[float]) -> Candidates:
    arrays: dict[str, Column] = {name: np.array(column, np.float32) for name, column in columns.items()}
    size = len(next(iter(arrays.values())))
    return Candidates(np.arange(size, dtype=np.int32), np.array([0, size]), arrays)


def test_the_value_is_the_weighted_sum_of_the_predictions() -> None:
    value: Value = WeightedSum(lambda: {"click": 1.0, "like": 2.0, "watch": 0.01}, COLUMNS)
    table = rows(p_click=[0.5, 0.1], p_like=[0.1, 0.2], watch_seconds=[30.0, 200.0])
    np.testing.assert_allclose(value(requests(1, 10), table), [1.0, 2.5], rtol=1e-6)
    assert value(requests(1, 10), table).dtype == np.float32


def test_weights_are_read_anew_for_every_batch() -> None:
    weights = {"click": 1.0}
    value = WeightedSum(lambda: weights, COLUMNS)
    table = rows(p_click=[0.5])
    assert value(requests(1, 10), table).tolist() == [0.5]
    weights["click"] = -4.0
    assert value(requests(1, 10), table).tolist() == [-2.0]


def test_a_request_overrides_single_weights_and_unknown_tasks_are_ignored() -> None:
    value = WeightedSum(lambda: {"click": 1.0, "like": 2.0}, COLUMNS)
    asked = replace(requests(1, 10), value_weights={"like": 0.0, "yodel": 9.0, "watch": 0.5})
    table = rows(p_click=[0.5], p_like=[0.25], watch_seconds=[3.0])
    assert value(asked, table).tolist() == [2.0]


def test_a_task_without_a_column_adds_nothing() -> None:
    value = WeightedSum(lambda: {"click": 1.0, "like": 2.0}, COLUMNS)
    assert value(requests(1, 10), rows(p_click=[0.5, 0.25])).tolist() == [0.5, 0.25]
    assert value(requests(1, 10), rows(p_share=[0.5, 0.25])).tolist() == [0.0, 0.0]


def test_predictions_that_are_not_finite_add_nothing() -> None:
    predicted = {"click": np.array([np.nan, np.inf, 0.5]), "like": np.array([0.25, 0.25, -np.inf])}
    assert weighted_sum(predicted, {"click": 1.0, "like": 1.0}, 3).tolist() == [0.25, 0.25, 0.5]


def test_no_rows() -> None:
    assert weighted_sum({"click": np.empty(0)}, {"click": 1.0}, 0).shape == (0,)


def test_what_hardly_anybody_would_choose_is_worth_less() -> None:
    table = rows(p_click=[0.5, 0.5, 0.5, 0.5], choice=[1.0, 0.25, 0.0625, 1e-30])
    for power, expected in (
        (0.0, [0.5, 0.5, 0.5, 0.5]),
        (0.5, [0.5, 0.25, 0.125, 0.0]),
        (1.0, [0.5, 0.125, 0.03125, 0.0]),
    ):
        found = WeightedSum(lambda: {"click": 1.0}, COLUMNS, power)(requests(1, 10), table)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert found.dtype == np.float32
    against = WeightedSum(lambda: {"click": -1.0}, COLUMNS, 0.5)(requests(1, 10), table)
    np.testing.assert_allclose(against, [-0.5, -0.75, -0.875, -1.0], atol=1e-6)


def test_without_choices_the_power_changes_nothing() -> None:
    value = WeightedSum(lambda: {"click": 1.0}, COLUMNS, 0.5)
    assert value(requests(1, 10), rows(p_click=[0.5, 0.25])).tolist() == [0.5, 0.25]
