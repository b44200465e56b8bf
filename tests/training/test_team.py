"""A training that is lost between two epochs goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.candidates import towers
from tests.training import rankers
from upnext.training.progress import Silent
from upnext.training.ranker_fit import RankerFit
from upnext.training.sequences import sequences
from upnext.training.team import Alone, Standing
from upnext.training.tower_trainer import TowerTrainer


class Lost(Exception):
    """The training's machine is gone."""


class Forgetful(Alone):
    """A team of one that is lost after ``epochs``; the next one finds what it kept, read from files."""

    def __init__(self, folder: Path, epochs: int = 1_000) -> None:
        self._folder, self._left = folder, epochs
        self.found = 0

    def keep(self, standing: Callable[[], Standing]) -> None:
        standing().save(self._folder)
        self._left -= 1
        if not self._left:
            raise Lost

    def kept(self) -> Standing | None:
        if not any(self._folder.iterdir()):
            return None
        standing = Standing.load(self._folder)
        self.found = standing.told["epochs"]
        return standing


def train_towers(team: Alone) -> tuple[list[float], dict[str, torch.Tensor]]:
    seen, content, words, attributes = towers.world()
    torch.manual_seed(0)
    config = towers.CONFIG.model_copy(update={"epochs": 6, "dropout": 0.1})
    visits = sequences(seen)
    trainer = TowerTrainer(visits, content, words, attributes, config, 0, team)
    late = visits.began >= 6_000 * towers.HOUR
    rows = np.arange(len(visits))
    recall = trainer.fit(rows[~late], trainer.validation_queries(rows[late]), lambda advance, message: None)
    return recall, trainer.towers.state_dict()


def test_towers_that_are_lost_go_on_from_their_last_epoch(tmp_path: Path) -> None:
    recall, weights = train_towers(Alone())
    assert len(recall) == 6
    with pytest.raises(Lost):
        train_towers(Forgetful(tmp_path, epochs=3))
    torch.manual_seed(7)  # another process has drawn other numbers
    again = Forgetful(tmp_path)
    their_recall, their_weights = train_towers(again)
    assert again.found == 3
    assert their_recall == recall
    for name, value in weights.items():
        torch.testing.assert_close(their_weights[name], value, rtol=0, atol=0)


def train_ranker(team: Alone) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    random = np.random.default_rng(0)
    features = random.normal(size=(1_600, rankers.FEATURES)).astype(np.float32)
    labels = {"click": (random.random(1_600) < rankers.logistic(2 * features[:, 1])).astype(np.float32)}
    data = replace(rankers.examples(features, labels), request_features=rankers.SHARED)
    fitted = rankers.random_ranker(("click",), ())
    config = rankers.CONFIG.model_copy(update={"epochs": 4, "learning_rate": 1e-3})
    fit = RankerFit(data, fitted.content, fitted.spec, fitted.network, fitted.encoder, config, 0, team)
    torch.manual_seed(1)
    return fit.run(Silent()), fitted.network.state_dict()


def test_a_ranker_that_is_lost_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    curve, weights = train_ranker(Alone())
    assert len(curve) >= 3
    with pytest.raises(Lost):
        train_ranker(Forgetful(tmp_path, epochs=2))
    again = Forgetful(tmp_path)
    their_curve, their_weights = train_ranker(again)
    assert again.found == 2
    assert their_curve == curve
    for name, value in weights.items():
        torch.testing.assert_close(their_weights[name], value, rtol=0, atol=0)
