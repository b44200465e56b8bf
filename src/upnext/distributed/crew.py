"""``upnext train --ray``: the networks are trained by workers on a cluster, the rest of a training stays where it was.

A worker that is lost takes its team with it; Ray starts another, which goes on from the last epoch that was kept.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
from ray.train import CheckpointConfig, DataConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from upnext.content import Vocabulary
from upnext.distributed.cluster import cluster
from upnext.distributed.jobs import Job, requests_frame, visits_frame
from upnext.distributed.member import STEPS_FILE, train_ranker, train_towers
from upnext.errors import UpnextError
from upnext.home import Home
from upnext.training.progress import Progress, Step
from upnext.training.ranker_fit import RankerFit
from upnext.training.run import Activation, Trained, train
from upnext.training.sequences import Sequences
from upnext.training.team import Standing
from upnext.training.tower_trainer import TowerTrainer
from upnext.training.weights import save_weights
from upnext.types import Int64

FOLDER = "var/ray"  # of a home: jobs under way, which every machine of the cluster must see
FAILURES = 5  # workers that one training may lose
LOOK_S = 0.2
# A worker that keeps an epoch waits until the run's controller looks, every 2 s by default: longer than a small epoch.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(LOOK_S))


def train_on_ray(
    home: Home, until: int | None, display: Progress, activation: Activation, address: str, workers: int
) -> Trained | None:
    """``upnext train`` with the networks trained by ``workers`` on the cluster at ``address``."""
    with cluster(address, cpus=max(os.cpu_count() or 1, workers + 2)):
        return train(home, until, display, activation=activation, crew=RayCrew(home.directory, workers))


class RayCrew:
    """training.team.Crew over a cluster that this process is connected to."""

    def __init__(self, home: Path, workers: int) -> None:
        self._folder, self._workers = home.resolve() / FOLDER, workers

    def towers(self, trainer: TowerTrainer, rows: Int64, queries: Int64, step: Step) -> list[float]:
        with self._job() as job:
            asked, places = _asked(trainer.seen, queries)
            visits_frame(trainer.seen, asked).write_parquet(job.folder / "asked.parquet")
            job.write(visits_frame(trainer.seen, rows), self._workers)
            rest = {"queries": places, "attributes": trainer.attributes}
            told = {"config": trainer.config.model_dump(mode="json"), "seed": trainer.seed}
            job.tell(rest, told, trainer.item_content, trainer.vocabulary)
            save_weights(job.folder, item_tower=trainer.item_tower, user_tower=trainer.user_tower)
            standing = self._run(train_towers, job, step)
        trainer.towers.load_state_dict(standing.state("best" if len(queries) else "towers"))
        return list(standing.told["recall"])

    def ranker(self, fit: RankerFit, vocabulary: Vocabulary, progress: Progress) -> list[dict[str, float]]:
        data, spec = fit.data, fit.spec
        with self._job() as job, progress.track("ranker", fit.steps) as step:
            job.write(requests_frame(data, slice(0, data.validation_from)), self._workers)
            requests_frame(data, slice(data.validation_from, data.batch)).write_parquet(
                job.folder / "validation.parquet"
            )
            told = {"config": fit.config.model_dump(mode="json"), "seed": fit.seed}
            job.tell({}, {**told, "request_features": data.request_features}, fit.item_content, vocabulary)
            spec.save(job.folder)
            save_weights(job.folder, network=fit.network, encoder=fit.encoder)
            standing = self._run(train_ranker, job, step)
        fit.network.load_state_dict(standing.state("best network"))
        fit.encoder.load_state_dict(standing.state("best encoder"))
        return list(standing.told["curve"])

    @contextmanager
    def _job(self) -> Iterator[Job]:
        job = Job(self._folder / uuid.uuid4().hex[:12])
        job.folder.mkdir(parents=True)
        try:
            yield job
        finally:
            shutil.rmtree(job.folder, ignore_errors=True)

    def _run(self, loop: Callable[..., None], job: Job, step: Step) -> Standing:
        gpus = ray.cluster_resources().get("GPU", 0) >= self._workers
        trainer = TorchTrainer(
            loop,
            train_loop_config={"folder": str(job.folder)},
            scaling_config=ScalingConfig(num_workers=self._workers, use_gpu=gpus),
            datasets={"train": ray.data.read_parquet(str(job.examples), override_num_blocks=self._workers)},
            dataset_config=DataConfig(datasets_to_split=["train"]),
            run_config=RunConfig(
                name="run",
                storage_path=str(job.folder),
                failure_config=FailureConfig(max_failures=FAILURES),
                checkpoint_config=CheckpointConfig(num_to_keep=2),
            ),
        )
        with _followed(job.folder / STEPS_FILE, step):
            try:
                result = trainer.fit()
            except Exception as error:  # Ray's own class wraps what a worker raised
                raise UpnextError(f"training on the cluster failed: {_cause(error)}") from error
        if result.checkpoint is None:
            raise UpnextError("training on the cluster left no checkpoint: there was nothing to learn from")
        with result.checkpoint.as_directory() as folder:
            return Standing.load(Path(folder))


def _asked(seen: Sequences, queries: Int64) -> tuple[Int64, Int64]:
    """The visits of everybody who has a query, in order, and where the queries are among them."""
    rows = np.flatnonzero(np.isin(seen.user, seen.user[queries]))
    return rows, np.searchsorted(rows, queries)


@contextmanager
def _followed(path: Path, step: Step) -> Iterator[None]:
    """Pass on the steps that the first worker writes down."""
    ended, read = threading.Event(), 0

    def follow() -> None:
        nonlocal read
        while not ended.wait(LOOK_S):
            read = _read_on(path, read, step)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _read_on(path, read, step)


def _read_on(path: Path, read: int, step: Step) -> int:
    if not path.exists():
        return read
    with path.open("rb") as file:
        file.seek(read)
        for line in file.read().splitlines(keepends=True):
            if line.endswith(b"\n"):
                step(*json.loads(line))
                read += len(line)
    return read


def _cause(error: BaseException) -> str:
    failures: Any = getattr(error, "worker_failures", None)
    inner = next(iter(failures.values()), error) if failures else error
    lines = [line for line in str(inner).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(inner).__name__
