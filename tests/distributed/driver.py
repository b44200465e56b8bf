"""Trainings on a cluster, in a process of their own: python -m tests.distributed.driver FOLDER HOME ANSWER"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.candidates import towers as world
from tests.training import rankers
from upnext.batch.run import Wanted, recommend_all
from upnext.distributed.cluster import cluster, need_ray
from upnext.home import Home
from upnext.testing.processes import processes
from upnext.training.progress import Silent
from upnext.training.ranker_fit import RankerFit
from upnext.training.sequences import sequences
from upnext.training.tower_trainer import TowerTrainer

WORKERS = 2
NOW = 1_900_000_000_000


def towers(folder: Path) -> dict[str, Any]:
    """Recall of towers that were trained alone, and by two workers."""
    from upnext.distributed.crew import RayCrew

    seen, content, words, attributes = world.world()
    config = world.CONFIG.model_copy(update={"epochs": 12})
    visits = sequences(seen)
    late = visits.began >= 6_000 * world.HOUR
    rows = np.arange(len(visits))
    found: dict[str, Any] = {}
    for name in ("alone", "on ray"):
        trainer = TowerTrainer(visits, content, words, attributes, config, 0)
        queries = trainer.validation_queries(rows[late])
        given = rows[~late], queries, lambda advance, message: None
        recall = trainer.fit(*given) if name == "alone" else RayCrew(folder, WORKERS).towers(trainer, *given)
        found[name] = max(recall)
        found[f"{name}, again"] = trainer.recall(queries)
    return found


def ranker(folder: Path) -> dict[str, Any]:
    """The curve of a ranker of whose workers one is killed as soon as two epochs were kept."""
    from upnext.distributed.crew import RayCrew

    random = np.random.default_rng(0)
    features = random.normal(size=(12_000, rankers.FEATURES)).astype(np.float32)
    labels = {"click": (random.random(12_000) < rankers.logistic(2 * features[:, 1])).astype(np.float32)}
    fitted = rankers.random_ranker(("click",), ())
    data = replace(rankers.examples(features, labels), request_features=rankers.SHARED)
    config = rankers.CONFIG.model_copy(update={"epochs": 5, "learning_rate": 1e-5, "batch_size": 64})
    fit = RankerFit(data, fitted.content, fitted.spec, fitted.network, fitted.encoder, config, 0)
    killed: list[str] = []

    def kill() -> None:
        while not killed:
            kept = sorted(path.name for path in folder.glob("var/ray/*/run/checkpoint_*"))
            if len(kept) >= 2:
                os.kill(processes("ray::RayTrainWorker")[0], signal.SIGKILL)
                killed.extend(kept)
            time.sleep(0.02)

    threading.Thread(target=kill, daemon=True).start()
    curve = RayCrew(folder, WORKERS).ranker(fit, rankers.vocabulary(), Silent())
    left = [path.name for path in (folder / "var" / "ray").iterdir()]
    return {"killed after": len(killed), "curve": curve, "again": fit.validate()["score"], "left": left}


def batch(folder: Path, trained: Path) -> dict[str, Any]:
    """Whether everybody is answered alike by a process here and by two of the cluster, one of which dies."""
    from upnext.distributed.batch import on_ray

    home = Home.open(trained)
    here, there = folder / "here.parquet", folder / "there.parquet"

    def now() -> int:
        return NOW

    recommend_all(home, Wanted(), here, processes=1, wall=now)
    answering = on_ray(home, there, (), WORKERS)

    def work(parts: Sequence[int]) -> Generator[int, None, None]:
        for done, part in enumerate(answering(parts)):
            if done == 2:
                os.kill(processes("ray::Answerer")[0], signal.SIGKILL)
            yield part

    recommend_all(home, Wanted(), there, work=work, wall=now)
    mine, theirs = pl.read_parquet(here), pl.read_parquet(there)
    return {"same": mine.equals(theirs), "rows": len(mine), "left": [path.name for path in folder.glob("*.parts")]}


if __name__ == "__main__":
    need_ray("local")
    with cluster("local", cpus=WORKERS + 2):
        at, home = Path(sys.argv[1]), Path(sys.argv[2])
        found = {"towers": towers(at), "ranker": ranker(at), "batch": batch(at, home)}
        Path(sys.argv[3]).write_text(json.dumps(found), encoding="utf-8")
