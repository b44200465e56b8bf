from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ranking.test_linear import NAMES, linear, table
from upnext.errors import ArtifactError
from upnext.ranking.choice import COLUMN, LEAST, Choice, WithChoice
from upnext.ranking.linear import CLIP
from upnext.reranking.exploration import nothing_owed
from upnext.stages import Ranker
from upnext.testing.reranker_contract import requests
from upnext.types import Candidates, Float32


def choice(weight: float = 1.0) -> Choice:
    weights = np.array([weight, -0.5, 0.25], np.float32)
    return Choice(NAMES, np.array([1, 0, -2], np.float32), np.array([2, 1, 0.5], np.float32), weights)


def ragged(features: Float32, offsets: list[int]) -> Candidates:
    rows = Candidates(np.arange(len(features), dtype=np.int32), np.array(offsets, np.int64))
    return rows.with_features(features, NAMES)


def test_it_is_the_likelihood_relative_to_the_likeliest_of_the_request() -> None:
    features = np.random.default_rng(0).normal(0, 3, (9, 3)).astype(np.float32)
    offsets = [0, 0, 4, 4, 8, 9]  # some requests have no rows
    found, model = choice()(ragged(features, offsets)), choice()
    logit = np.clip((features.astype(np.float64) - model.mean) * model.scale, -CLIP, CLIP) @ model.weights
    for start, stop in ((0, 4), (4, 8), (8, 9)):
        share = np.exp(logit[start:stop]) / np.exp(logit[start:stop]).sum()
        np.testing.assert_allclose(found[start:stop], share / share.max(), rtol=1e-4)
    assert found.dtype == np.float32


def test_nobody_and_nothing() -> None:
    assert choice()(ragged(np.empty((0, 3), np.float32), [0, 0])).shape == (0,)


def test_the_least_likely_stay_above_zero() -> None:
    features = np.array([[100, 0, 0], [-100, 0, 0]], np.float32)
    found = choice(1000)(ragged(features, [0, 2]))
    np.testing.assert_allclose(found, [1.0, np.exp(LEAST)], rtol=1e-4)
    assert found.min() > 0


def test_a_ranker_says_it_beside_its_predictions() -> None:
    features = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    both: Ranker = WithChoice(linear(), choice(), nothing_owed)
    found, alone = both(requests(1, 5), table(features)), linear()(requests(1, 5), table(features))
    assert both.name == "linear"
    assert {name: column.tolist() for name, column in found.items() if name != COLUMN} == {
        name: column.tolist() for name, column in alone.items()
    }
    assert found[COLUMN].tolist() == choice()(table(features)).tolist()


def test_what_nobody_could_choose_yet_counts_as_the_middle_at_least() -> None:
    features = np.random.default_rng(2).normal(size=(9, 3)).astype(np.float32)
    rows, asked = ragged(features, [0, 4, 4, 9]), requests(3, 5)
    owed = np.array([0, 3, 4, 5, 8])
    both = WithChoice(linear(), choice(), lambda items, now: np.where(np.isin(items, owed), 0.0, np.nan))
    found, alone = np.asarray(both(asked, rows)[COLUMN]), choice()(rows)
    for start, stop in ((0, 4), (4, 9)):
        middle = np.median(alone[start:stop])
        for row in range(start, stop):
            assert found[row] == (max(alone[row], middle) if row in owed else alone[row])
    assert (found[owed] > alone[owed]).any()


def test_other_features_are_refused() -> None:
    with pytest.raises(ArtifactError, match="choices were learned on other features"):
        choice()(table(np.zeros((2, 3), np.float32), ("one", "three", "two")))


def test_it_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    assert Choice.load(tmp_path, NAMES) is None
    choice().save(tmp_path)
    features = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    loaded = Choice.load(tmp_path, NAMES)
    assert loaded is not None
    assert loaded(table(features)).tolist() == choice()(table(features)).tolist()


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    choice().save(tmp_path)
    with pytest.raises(ArtifactError, match=r"shape \(3,\), not of 2 features"):
        Choice.load(tmp_path, NAMES[:2])
    (tmp_path / "choice.npy").write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match=r"choice\.npy: not readable"):
        Choice.load(tmp_path, NAMES)
