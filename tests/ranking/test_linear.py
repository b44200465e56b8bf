from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from upnext.errors import ArtifactError
from upnext.evaluation.metrics import auc, ece
from upnext.ranking.linear import CLIP, Linear
from upnext.ranking.tokens import Tokens
from upnext.stages import Ranker
from upnext.testing.reranker_contract import requests
from upnext.training.linear import fit_linear
from upnext.training.ranker_fit import RankerData
from upnext.types import Candidates, Float32

COLUMNS = ("p_click", "watch_seconds", "watch_seconds_median")
NAMES = ("one", "two", "three")


def linear(scale: float = 1.0) -> Linear:
    random = np.random.default_rng(0)
    weights = (scale * random.normal(size=(4, 3))).astype(np.float32)
    return Linear(COLUMNS, NAMES, np.array([1, 0, -2], np.float32), np.array([2, 1, 0.5], np.float32), weights)


def table(features: Float32, names: tuple[str, ...] = NAMES) -> Candidates:
    size = len(features)
    return Candidates(np.arange(size, dtype=np.int32), np.array([0, size])).with_features(features, names)


def test_predictions_are_the_formula() -> None:
    ranker = linear()
    assert isinstance(ranker, Ranker)
    features = np.random.default_rng(1).normal(0, 5, (50, 3)).astype(np.float32)
    found = ranker(requests(1, 5), table(features))
    normal = np.clip((features.astype(np.float64) - ranker.mean) * ranker.scale, -CLIP, CLIP)
    raw = normal @ ranker.weights[:-1] + ranker.weights[-1]
    assert tuple(found) == COLUMNS
    np.testing.assert_allclose(found["p_click"], 1 / (1 + np.exp(-raw[:, 0])), rtol=1e-4)
    np.testing.assert_allclose(found["watch_seconds"], np.maximum(raw[:, 1], 0), rtol=1e-4, atol=1e-5)
    assert (np.asarray(found["watch_seconds"]) == 0).any()


def test_large_weights_stay_probabilities() -> None:
    features = np.random.default_rng(1).normal(0, 5, (50, 3)).astype(np.float32)
    found = np.asarray(linear(1000)(requests(1, 5), table(features))["p_click"])
    assert ((found >= 0) & (found <= 1)).all()
    assert found.min() < 1e-6
    assert found.max() > 1 - 1e-6


def test_other_features_are_refused() -> None:
    features = np.zeros((2, 3), np.float32)
    for odd in (table(features, ("one", "three", "two")), Candidates(np.zeros(2, np.int32), np.array([0, 2]))):
        with pytest.raises(ArtifactError, match="trained on other features than it is given; train again"):
            linear()(requests(1, 5), odd)


def test_what_was_saved_predicts_the_same(tmp_path: Path) -> None:
    linear().save(tmp_path)
    features = np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32)
    loaded = Linear.load(tmp_path, COLUMNS, NAMES)
    for name, column in linear()(requests(1, 5), table(features)).items():
        np.testing.assert_array_equal(loaded(requests(1, 5), table(features))[name], column)


def test_what_does_not_fit_or_is_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no readable linear ranker"):
        Linear.load(tmp_path, COLUMNS, NAMES)
    linear().save(tmp_path)
    with pytest.raises(ArtifactError, match=r"shape \(4, 3\), not that of 4 features and 3 columns"):
        Linear.load(tmp_path, COLUMNS, (*NAMES, "four"))
    (tmp_path / "linear_scales.npy").write_bytes(b"\x93NUMPY nonsense")
    with pytest.raises(ArtifactError, match="no readable linear ranker"):
        Linear.load(tmp_path, COLUMNS, NAMES)
    np.save(tmp_path / "linear_scales.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError, match="no readable linear ranker"):
        Linear.load(tmp_path, COLUMNS, NAMES)
    np.save(tmp_path / "linear_scales.npy", np.zeros((2, 7), np.float32), allow_pickle=False)
    with pytest.raises(ArtifactError, match="Train again"):
        Linear.load(tmp_path, COLUMNS, NAMES)


def test_a_linear_rule_is_learned_and_calibrated() -> None:
    random = np.random.default_rng(0)
    rows = 6000
    features = (random.normal(size=(rows, 3)) * [1, 100, 0.01] + [0, 500, 3]).astype(np.float32)
    chance = 1 / (1 + np.exp(-(3 * features[:, 0] - 1)))
    click = (random.random(rows) < chance).astype(np.float32)
    seconds = np.maximum(20 + 0.1 * (features[:, 1] - 500) + random.normal(0, 2, rows), 0).astype(np.float32)
    fitted = fit_linear(data(features[:4000], click[:4000], seconds[:4000]), COLUMNS, NAMES, seed=0)
    found = fitted(requests(1, 5), table(features[4000:]))
    best = auc(click[4000:], chance[4000:])
    assert auc(click[4000:], np.asarray(found["p_click"])) > best - 0.01
    assert ece(click[4000:], np.asarray(found["p_click"])) < 0.03
    assert np.abs(np.asarray(found["watch_seconds"]) - seconds[4000:]).mean() < 3


def data(features: Float32, click: Float32, seconds: Float32) -> RankerData:
    rows, nothing = len(features), np.zeros((1, 1), np.float32)
    return RankerData(
        item=np.zeros(rows, np.int32),
        offsets=np.array([0, rows]),
        features=features,
        request_features=0,
        position=np.zeros(rows, np.int16),
        labels={"click": click, "watch": seconds},
        history=Tokens(np.full((1, 1), -1, np.int32), nothing, nothing, nothing),
        user=np.zeros(1, np.int32),
        attribute=np.zeros((1, 1), np.int32),
        surface=np.zeros(1, np.int32),
        validation_from=1,
    )
