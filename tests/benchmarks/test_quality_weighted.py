"""Measures with a weight a user: those of the package where all weigh alike, repeated rows where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.quality.foretelling import measured
from benchmarks.quality.ranking import Rows
from benchmarks.quality.weighted import auc_of, draws, ece_of, gauc_of, mae_of, xauc_of

from upnext.evaluation import metrics

RANDOM = np.random.default_rng(0)
USER = RANDOM.integers(0, 40, 3000)
SCORE = RANDOM.integers(0, 50, 3000) / 50
LABEL = (RANDOM.random(3000) < SCORE).astype(np.float32)
TARGET = RANDOM.integers(0, 30, 3000) + SCORE
ALIKE = np.ones(40)


def test_alike_they_are_the_measures_of_the_package() -> None:
    assert auc_of(USER, LABEL, SCORE)(ALIKE) == pytest.approx(metrics.auc(LABEL, SCORE))
    assert gauc_of(USER, LABEL, SCORE)(ALIKE) == pytest.approx(metrics.gauc(USER, LABEL, SCORE).mean)
    assert ece_of(USER, LABEL, SCORE)(ALIKE) == pytest.approx(metrics.ece(LABEL, SCORE))
    assert mae_of(USER, TARGET, SCORE)(ALIKE) == pytest.approx(metrics.mae(TARGET, SCORE))
    assert xauc_of(USER, TARGET, SCORE)(ALIKE) == pytest.approx(metrics.xauc(TARGET, SCORE))


def test_a_weight_is_so_many_copies_of_the_user() -> None:
    weight = draws(40, 1)[0]
    rows = np.repeat(np.arange(3000), weight[USER].astype(np.int64))
    assert auc_of(USER, LABEL, SCORE)(weight) == pytest.approx(metrics.auc(LABEL[rows], SCORE[rows]))
    assert ece_of(USER, LABEL, SCORE)(weight) == pytest.approx(metrics.ece(LABEL[rows], SCORE[rows]))
    assert mae_of(USER, TARGET, SCORE)(weight) == pytest.approx(metrics.mae(TARGET[rows], SCORE[rows]))


def test_the_better_system_is_found_better() -> None:
    test = Rows(np.empty((3000, 0), np.float32), USER, {"click": LABEL})
    noise = RANDOM.random(3000)
    lines = measured(test, {"upnext": [{"click": SCORE}], "LightGBM": [{"click": noise}, {"click": noise}]})
    auc = next(line for line in lines if line["measure"] == "AUC")
    assert auc["difference"]["low"] > 0.1
    assert auc["upnext"]["low"] < auc["upnext"]["runs"][0] < auc["upnext"]["high"]
