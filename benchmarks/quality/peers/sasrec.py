"""RecTools' SASRec (Kang and McAuley, ICDM 2018) with a softmax over 256 sampled negatives, fitted once, apart:

    python -m benchmarks.quality.peers.sasrec --dataset amazon-beauty --data ../shared/data/amazon-beauty --into sasrec

It wants a GPU: an epoch takes minutes on two cores. What it leaves in ``--into`` is read by
``python -m benchmarks.quality --fitted sasrec``; what it printed is kept in ``benchmarks/quality/fitted/``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import LambdaCallback
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

from benchmarks.quality.datasets import NAMES, format_of, load
from benchmarks.quality.lists import Top
from benchmarks.quality.metrics import coverage, mean, ndcg, recall
from benchmarks.quality.peers import popularity
from benchmarks.quality.peers.method import Settings, timed
from benchmarks.quality.split import Int64, Lists, Split, Splits

NAME = "SASRec (RecTools)"
K = 10  # NDCG@10 on validation decides when to stop, and which settings are taken
DEPTH = 100
VALIDATION_USERS = 5000
PATIENCE = 10  # epochs without a better one
MOST_EPOCHS = 100
DROPOUT = (0.5, 0.2)  # to choose from
MEASURES = ((recall, 10), (ndcg, 10), (recall, 20), (ndcg, 20), (recall, 100))


def fit(splits: Splits, settings: Settings, seed: int, until: float) -> tuple[SASRecModel, float, int]:
    """Train on the histories of validation; the model of the best epoch, its NDCG@10, and that epoch.

    ``until`` (time.monotonic()) ends a training that would take longer.
    """
    split = splits.validation
    users, truth = _sample(split)
    known, stats = _dataset(split.history.take(users), users), {"best": -1.0, "epoch": 0, "epochs": 0}
    best: dict[str, Any] = {}

    def validate(trainer: Trainer, module: LightningModule) -> None:
        stats["epochs"] += 1
        model.is_fitted = True  # as far as it has got
        value = mean(ndcg(_top(model, known, split, users, K), truth, K))
        module.train()
        if value > stats["best"]:
            stats.update(best=value, epoch=stats["epochs"])
            best.update(deepcopy(model.torch_model.state_dict()))
        print(f"seed {seed}, {dict(settings)}, epoch {stats['epochs']}: NDCG@{K} {value:.4f}", flush=True)
        trainer.should_stop = stats["epochs"] - stats["epoch"] >= PATIENCE or time.monotonic() > until

    model = _model(settings, seed, MOST_EPOCHS, validate)
    model.fit(_dataset(split.fit))
    model.torch_model.load_state_dict(best)
    return model, stats["best"], int(stats["epoch"])


def again(split: Split, settings: Settings, seed: int, epochs: int) -> SASRecModel:
    """Trained on what is known at the time of the test, as long as validation said."""
    return _model(settings, seed, epochs, lambda trainer, module: None).fit(_dataset(split.fit))


def _model(settings: Settings, seed: int, epochs: int, after_epoch: Any) -> SASRecModel:
    seed_everything(seed)

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=epochs,
            min_epochs=1,
            callbacks=[LambdaCallback(on_train_epoch_end=after_epoch)],
            accelerator="auto",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    return SASRecModel(
        n_blocks=2,
        n_heads=4,
        n_factors=256,
        dropout_rate=settings["dropout"],
        session_max_len=50,
        loss="sampled_softmax",
        n_negatives=256,
        lr=1e-3,
        batch_size=128,
        dataloader_num_workers=2 if torch.cuda.is_available() else 0,  # drawing negatives would keep a GPU waiting
        get_trainer_func=trainer,
    )


def _dataset(lists: Lists, users: Int64 | None = None) -> Dataset:
    """Rows of ``lists`` are those of ``users`` (None = all). RecTools sorts by time: what stands later was later."""
    row = lists.row if users is None else users[lists.row]
    at = pd.to_datetime(np.arange(len(row)), unit="s")
    frame = {Columns.User: row, Columns.Item: lists.item.astype(np.int64), Columns.Weight: 1.0, Columns.Datetime: at}
    return Dataset.construct(pd.DataFrame(frame))


def _sample(split: Split) -> tuple[Int64, Lists]:
    """At most VALIDATION_USERS with a history, and what they turned to next."""
    asked = split.asked[~split.cold_users[split.asked]]
    if len(asked) > VALIDATION_USERS:
        asked = np.sort(np.random.default_rng(0).choice(asked, VALIDATION_USERS, replace=False))
    return asked, split.truth.take(asked)


def _top(model: SASRecModel, known: Dataset, split: Split, users: Int64, k: int) -> Top:
    """Lists of ``users``; empty where the model knows nothing of their history."""
    found = model.recommend(users, known, k, filter_viewed=True, on_unsupported_targets="ignore")
    item = np.full((len(split.users), k), -1, np.int32)
    item[found[Columns.User].to_numpy(), found[Columns.Rank].to_numpy() - 1] = found[Columns.Item].to_numpy()
    return Top.in_order(item[users])


def _answers(model: SASRecModel, split: Split) -> Top:
    """Of all that are asked; who has no history gets what is popular."""
    asked = split.asked
    item = _top(model, _dataset(split.history), split, asked, DEPTH).item.copy()
    empty = np.flatnonzero(item[:, 0] < 0)
    fallback = (popularity.fit_recent if timed(split) else popularity.fit_all_time)(split, {}, 0)
    if len(empty):  # nobody's history: the same list for all of them
        item[empty] = np.argsort(-fallback(split, asked[empty[:1]])[0], kind="stable")[:DEPTH]
    return Top.in_order(item)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, choices=[name for name in NAMES if format_of(name) != "check-ins"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True, help="folder for the lists")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--dropout", type=float, nargs="+", default=DROPOUT, help="to choose from on validation")
    parser.add_argument("--seconds", type=float, default=86_400, help="that one training may take")
    flags = parser.parse_args()
    splits = load(flags.dataset, flags.data)
    for seed in flags.seeds:
        _run(splits, seed, flags)


def _run(splits: Splits, seed: int, flags: argparse.Namespace) -> None:
    started = time.perf_counter()
    fitted = []
    for dropout in flags.dropout:
        settings = {"dropout": dropout}
        model, value, epoch = fit(splits, settings, seed, time.monotonic() + flags.seconds)
        fitted.append((value, epoch, settings, model))
    value, epoch, settings, model = max(fitted, key=lambda one: one[0])
    split = splits.test
    if not np.array_equal(split.fit.item, splits.validation.fit.item):
        model = again(split, settings, seed, epoch)
    seconds, top = time.perf_counter() - started, _answers(model, split)
    truth = split.truth.take(split.asked)
    said = {
        "name": NAME,
        "dataset": flags.dataset,
        "seed": seed,
        **{f"{measure.__name__}@{k}": round(mean(measure(top, truth, k)), 5) for measure, k in MEASURES},
        "coverage@10": round(coverage(top, 10, len(split.items)), 4),
        "note": f"dropout {settings['dropout']:g}, {epoch} epochs",
        "validation ndcg@10": round(value, 5),
        "fit seconds": round(seconds, 1),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python -m benchmarks.quality.peers.sasrec", *sys.argv[1:]]),
    }
    flags.into.mkdir(parents=True, exist_ok=True)
    name = f"sasrec-{flags.dataset}-{seed}"
    top.save(flags.into / f"{name}.npz")
    (flags.into / f"{name}.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
