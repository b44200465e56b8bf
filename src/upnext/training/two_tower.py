"""The two-tower model as a whole: fitted on interactions, then written as what serving reads.

The towers themselves are in item_encoder and user_tower, the training in tower_trainer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from upnext.candidates.index import ASKING, ItemIndex
from upnext.candidates.item_space import VECTORS_FILE
from upnext.candidates.two_tower import ITEM_TOWER_FILE, SETTINGS_FILE, USER_TOWER_FILE
from upnext.config import TwoTowerConfig
from upnext.content import ATTRIBUTES, ItemContent, Vocabulary
from upnext.training.crew import HERE, Crew
from upnext.training.export import export_onnx
from upnext.training.interactions import Interactions
from upnext.training.item_encoder import ItemTower, content_tensors
from upnext.training.progress import Progress
from upnext.training.sequences import Sequences, sequences, user_ends
from upnext.training.serving_tower import ServingUserTower
from upnext.training.tower_trainer import TowerTrainer
from upnext.training.user_tower import DAY_MS, HOUR_MS, UserTower
from upnext.training.weights import Weights, save_weights
from upnext.types import Float32, Int32, Int64
from upnext.vectors import Vectors, save_vectors


@dataclass(frozen=True, slots=True)
class TwoTowerModel:
    """Fitted towers.

    ``recall`` is of the validation queries, by epoch; ``vectors [I, d]`` are unit item vectors; ``asking [n, d]`` are
    those of users as they will ask the index.
    """

    user_tower: UserTower
    item_tower: ItemTower
    vectors: Float32
    asking: Float32
    vocabulary: Vocabulary
    content: ItemContent
    config: TwoTowerConfig
    recall: tuple[float, ...]

    def save(self, directory: Path, progress: Progress, lasting: bool = True) -> None:
        """Write what serving needs: both towers (ONNX), item vectors, index, vocabulary, settings; and the weights.

        Not ``lasting``, the index is one that is quick to build.
        """
        directory.mkdir(parents=True, exist_ok=True)
        _export_user_tower(self.user_tower, self.config, directory / USER_TOWER_FILE)
        _export_item_tower(self.item_tower, self.content, directory / ITEM_TOWER_FILE)
        save_vectors(directory / VECTORS_FILE, [self.vectors], *self.vectors.shape)
        served = Vectors.load(directory / VECTORS_FILE)
        codes = np.arange(len(served), dtype=np.int32)
        with progress.track("item index" if lasting else "item index, for now", len(codes)) as step:
            index = ItemIndex.build_of(codes, served, asking=self.asking, step=step, lasting=lasting)
        index.save(directory)
        self.vocabulary.save(directory)
        save_weights(directory, user_tower=self.user_tower, item_tower=self.item_tower)
        settings = {
            "embedding_size": self.config.embedding_size,
            "history_size": self.config.history_size,
            "validation_recall": list(self.recall),
        }
        (directory / SETTINGS_FILE).write_text(json.dumps(settings), encoding="utf-8")


def fit_two_tower(
    interactions: Interactions,
    content: ItemContent,
    vocabulary: Vocabulary,
    user_attributes: Int32,
    config: TwoTowerConfig,
    *,
    seed: int,
    threads: int,
    progress: Progress,
    surface: Int32 | None = None,
    validation_from: int | None = None,
    refit: bool = False,
    start: Weights | None = None,
    users: Int32 | None = None,
    crew: Crew = HERE,
) -> TwoTowerModel:
    """Train both towers on ``interactions``; rows of ``content`` are item codes, of ``user_attributes`` user codes.

    ``surface`` are vocabulary codes, one an interaction. Visits from ``validation_from`` (Unix ms) on are not learned
    from, and decide when to stop (None = train all epochs); with ``refit`` a short last training takes them in.

    With ``start`` the towers go on from stored weights, whose recall is the first of the curve; with ``users``
    they learn from the sequences of these alone.
    """
    seen = sequences(interactions, surface)
    everything = np.arange(len(seen))
    if users is not None:
        everything = everything[np.isin(seen.user, users)]
    early = seen.began[everything] < (np.iinfo(np.int64).max if validation_from is None else validation_from)
    train, held_out = everything[early], everything[~early]
    with _seeded(seed, threads):
        trainer = TowerTrainer(seen, content, vocabulary, user_attributes, config, seed)
        queries = trainer.validation_queries(held_out)
        before: list[float] = []
        if start is not None:
            start.into("item_tower", trainer.item_tower)
            start.into("user_tower", trainer.user_tower)
            before = [trainer.recall(queries)] if len(queries) else []
        with progress.track("two-tower", trainer.steps(train) * trainer.epochs(train)) as step:
            recall = before + crew.towers(trainer, train, queries, step)
        if refit and len(held_out):
            with progress.track("two-tower, all", trainer.steps(everything) * trainer.refit_epochs(everything)) as step:
                trainer.refit(everything, step)
        with progress.track("item vectors", trainer.items) as step:
            vectors = trainer.item_vectors(step=step)
        asking = trainer.user_vectors(_latest(seen, everything, ASKING), vectors)
    curve = tuple(recall)
    return TwoTowerModel(trainer.user_tower, trainer.item_tower, vectors, asking, vocabulary, content, config, curve)


def _latest(seen: Sequences, rows: Int64, most: int) -> Int64:
    """The latest visit among ``rows`` of ``most`` users, all alike in their chance; of those who came back, if any did.

    The first visit of somebody is asked for by nobody known, and such queries lie far from all items.
    """
    last = user_ends(seen, rows) - 1
    again = last[last > seen.start[last]]
    last = again if len(again) else last
    return np.asarray(last[np.unique(np.linspace(0, len(last) - 1, min(most, len(last))).astype(np.int64))])


@contextmanager
def _seeded(seed: int, threads: int) -> Iterator[None]:
    """Torch's global seed and threads for one training, put back afterwards."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _export_user_tower(tower: UserTower, config: TwoTowerConfig, path: Path) -> None:
    slots, size = config.history_size, config.embedding_size
    weight = torch.ones(2, slots)
    weight[0, : slots // 2] = 0
    inputs = {
        "user": torch.tensor([0, 0], dtype=torch.int32),
        "vectors": functional.normalize(torch.randn(2, slots, size), dim=-1),
        "weight": weight,
        "at": torch.arange(2 * slots).reshape(2, slots) * DAY_MS,
        "now": torch.tensor([slots, 3 * slots]) * DAY_MS + HOUR_MS,
        "attributes": torch.zeros(2, ATTRIBUTES, dtype=torch.int32),
        "surface": torch.zeros(2, dtype=torch.int32),
    }
    dynamic = {name: {0: "batch"} for name in inputs}
    export_onnx(ServingUserTower(tower), inputs, ["user_vector"], dynamic, path)


def _export_item_tower(tower: ItemTower, content: ItemContent, path: Path) -> None:
    some = content.take(slice(0, 2))
    inputs = dict(zip(some.columns(), content_tensors(some), strict=True))
    export_onnx(tower, inputs, ["item_vector"], {name: {0: "batch"} for name in inputs}, path)
