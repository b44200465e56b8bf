"""What larger towers bring: the two-tower source alone, of any size, on any device.

python -m benchmarks.quality.towers prepare --dataset amazon-beauty --data PATH --home HOME --to FOLDER
python -m benchmarks.quality.towers fit FOLDER --size 256 --device cuda:0

The first writes what a training reads of a home that ``benchmarks.quality --work`` left behind, and who is asked for
what; the second needs nothing else, so it can run where there is a GPU.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from upnext.config import TwoTowerConfig
from upnext.content import ItemContent, Vocabulary
from upnext.training.interactions import Interactions
from upnext.training.next_item import ranks
from upnext.training.sequences import Sequences, sequences
from upnext.training.team import Alone
from upnext.training.tower_trainer import TowerTrainer
from upnext.types import Int64

TABLES = "training.npz"
K = 10
AT_ONCE = 1024
DAY_MS = 86_400_000


class OnDevice(Alone):
    """A team of one, somewhere else than in main memory."""

    def __init__(self, device: str) -> None:
        self.device = device

    def at(self, array: np.ndarray[Any, np.dtype[Any]]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)


def prepare(dataset: str, data: Path, home: Path, to: Path) -> None:
    # Imported here: fitting needs neither a catalogue nor a log.
    from benchmarks.quality.datasets import load
    from upnext.home import Home
    from upnext.live import Live
    from upnext.training.data import TrainingData

    split = load(dataset, data).test
    opened = Home.open(home, ())
    live = Live(opened.log(), opened.config)
    known = TrainingData.read(live, None)
    interactions, _ = known.interactions(known.until)
    vocabulary = known.vocabulary(interactions)
    code = {name: place for place, name in enumerate(live.catalogue.ids.names)}
    place = {name: row for row, name in enumerate(split.users.tolist())}
    asked = [(user, place[name]) for user, name in enumerate(live.users.ids.names) if name in place]
    asked = [(user, row) for user, row in asked if len(split.truth[row])]
    truth = [code[str(split.items[split.truth[row][0]])] for _, row in asked]
    to.mkdir(parents=True, exist_ok=True)
    vocabulary.save(to)
    np.savez_compressed(
        to / TABLES,
        allow_pickle=False,
        user=interactions.user,
        item=interactions.item,
        weight=interactions.weight,
        at=interactions.at,
        users=interactions.users,
        items=interactions.items,
        attributes=known.attributes(vocabulary),
        asked=np.array([user for user, _ in asked], np.int64),
        truth=np.array(truth, np.int64),
        **{f"content_{name}": column for name, column in known.content(vocabulary).columns().items()},
    )


def fit(folder: Path, size: int, epochs: int, encoder: str, device: str, seed: int) -> dict[str, Any]:
    """Fitted on everything; recall and NDCG of who is asked right after their last event."""
    table = np.load(folder / TABLES, allow_pickle=False)
    interactions = Interactions(
        table["user"], table["item"], table["weight"], table["at"], int(table["users"]), int(table["items"])
    )
    content = ItemContent(**{name[8:]: table[name] for name in table.files if name.startswith("content_")})
    settings = {"embedding_size": size, "epochs": epochs, "encoder": encoder, "max_steps": 1_000_000}
    config = TwoTowerConfig.model_validate(settings)
    torch.manual_seed(seed)
    seen = sequences(interactions)
    vocabulary = Vocabulary.load(folder)
    trainer = TowerTrainer(seen, content, vocabulary, table["attributes"], config, seed, OnDevice(device))
    began = time.perf_counter()
    trainer.fit(np.arange(len(seen)), np.empty(0, np.int64), lambda items, message: None)
    seconds = time.perf_counter() - began
    rank = _ranks(trainer, table["asked"], table["truth"])
    hit = rank < K
    return {
        "size": size,
        "encoder": encoder,
        "seed": seed,
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "weights": sum(p.numel() for p in trainer.towers.parameters()),
        f"recall@{K}": float(hit.mean()),
        f"ndcg@{K}": float(np.where(hit, 1 / np.log2(2 + rank), 0).mean()),
        "seconds": round(seconds, 1),
    }


def _ranks(trainer: TowerTrainer, asked: Int64, truth: Int64) -> Int64:
    """The place of each truth among what its user has not turned to, a day after their last visit."""
    seen = trainer.seen
    # A visit more for everybody: towers read what came before it.
    ends = np.searchsorted(seen.user, asked, side="right")
    order = np.argsort(np.concatenate([np.arange(len(seen)), ends - 0.5]), kind="stable")
    later = seen.ended[ends - 1] + DAY_MS
    more = {"user": asked, "item": truth, "weight": np.ones(len(asked)), "began": later, "ended": later}
    more |= {"surface": np.zeros(len(asked)), "start": np.zeros(len(asked))}
    columns = {
        name: np.concatenate([mine := getattr(seen, name), column.astype(mine.dtype)])[order]
        for name, column in more.items()
    }
    columns["start"] = np.searchsorted(columns["user"], columns["user"]).astype(np.int64)
    trainer.seen = Sequences(**columns)
    rows, vectors = np.flatnonzero(order >= len(seen)), trainer.item_vectors()
    parts = [rows[first : first + AT_ONCE] for first in range(0, len(rows), AT_ONCE)]
    return np.concatenate(
        [ranks(trainer.seen, part, trainer.user_vectors(part, vectors) @ vectors.T) for part in parts]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare")
    preparing.add_argument("--dataset", required=True)
    preparing.add_argument("--data", type=Path, required=True)
    preparing.add_argument("--home", type=Path, required=True)
    preparing.add_argument("--to", type=Path, required=True)
    fitting = commands.add_parser("fit")
    fitting.add_argument("folder", type=Path)
    fitting.add_argument("--size", type=int, default=64)
    fitting.add_argument("--epochs", type=int, default=32)
    fitting.add_argument("--encoder", default="transformer")
    fitting.add_argument("--device", default="cpu")
    fitting.add_argument("--seed", type=int, default=0)
    words = vars(parser.parse_args())
    if words.pop("command") == "prepare":
        prepare(**words)
    else:
        print(json.dumps(fit(**words)))
