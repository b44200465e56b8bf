"""A worker of a training on a cluster: one member of a team, with its share of the examples."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import ray.train
import torch
from numpy.typing import NDArray
from ray.train.torch import get_device, prepare_model
from torch import Tensor, distributed, nn

from upnext.config import RankingConfig, TwoTowerConfig
from upnext.content import Vocabulary, moved_rows
from upnext.distributed.jobs import Job, both, content_of, joined, requests_of, visits_of
from upnext.ranking.multi_task import RankerSpec
from upnext.training.item_encoder import ItemEncoder
from upnext.training.progress import Step
from upnext.training.ranker import untrained
from upnext.training.ranker_fit import RankerFit
from upnext.training.team import Standing
from upnext.training.tower_trainer import TowerTrainer
from upnext.training.weights import Weights
from upnext.types import Int64

T = TypeVar("T")
STEPS_FILE = "steps.jsonl"  # of a job: what the first worker has done, for whoever waits
TOLD_S = 0.5


class Member:
    """training.team.Team over Ray Train's process group; checkpoints go where the run keeps its own."""

    def __init__(self) -> None:
        context = ray.train.get_context()
        self.size: int = context.get_world_size()
        self.rank: int = context.get_world_rank()
        self.device = str(get_device())

    def at(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def together(self, objective: nn.Module) -> nn.Module:
        if self.size == 1:
            return objective
        wrapped: nn.Module = prepare_model(objective, parallel_strategy_kwargs={"find_unused_parameters": True})
        return wrapped

    def while_all(self, batches: Iterable[T]) -> Iterator[T]:
        own = iter(batches)
        while self._reduced(int((batch := next(own, None)) is not None), distributed.ReduceOp.MIN):
            assert batch is not None
            yield batch

    def least(self, number: int) -> int:
        return self._reduced(number, distributed.ReduceOp.MIN)

    def total(self, counts: Int64) -> Int64:
        summed = self.at(counts.copy())
        distributed.all_reduce(summed)
        return summed.cpu().numpy()

    def told(self, value: float) -> float:
        said = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(said, 0)
        return float(said[0])

    def keep(self, standing: Callable[[], Standing]) -> None:
        if self.rank:
            ray.train.report({})
            return
        with tempfile.TemporaryDirectory() as folder:
            standing().save(Path(folder))
            ray.train.report({}, checkpoint=ray.train.Checkpoint.from_directory(folder))

    def kept(self) -> Standing | None:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as folder:
            return Standing.load(Path(folder))

    def _reduced(self, number: int, how: Any) -> int:
        one = torch.tensor([number], device=self.device)
        distributed.all_reduce(one, how)
        return int(one[0])


def train_towers(told: Mapping[str, Any]) -> None:
    """What every worker runs; the last checkpoint is what comes of it."""
    job, team = Job(Path(told["folder"])), Member()
    with _begun(job, team) as (said, rest, words, weights, step):
        seen, rows = visits_of(_share()), None
        rows = np.arange(len(seen))
        queries = rest["queries"]
        if team.rank == 0:
            asked = visits_of(pl.read_parquet(job.folder / "asked.parquet"))
            queries = queries + len(seen)
            seen = both(seen, asked)
        config = TwoTowerConfig(**said["config"])
        trainer = TowerTrainer(seen, content_of(rest), words, rest["attributes"], config, said["seed"], team)
        weights.into("item_tower", trainer.item_tower)
        weights.into("user_tower", trainer.user_tower)
        trainer.fit(rows, queries, step)


def train_ranker(told: Mapping[str, Any]) -> None:
    job, team = Job(Path(told["folder"])), Member()
    with _begun(job, team) as (said, rest, words, weights, step):
        validation = requests_of(pl.read_parquet(job.folder / "validation.parquet"), said["request_features"])
        data = joined(requests_of(_share(), said["request_features"]), validation)
        spec, config = RankerSpec.load(job.folder), RankingConfig(**said["config"])
        edges = [weights.arrays[f"network.edges_{s}"] for s in range(len(spec.seconds_tasks))]
        network = untrained(words, spec, config, edges, embedded=data.stands_for is None)
        encoder = ItemEncoder(words, config.embedding_size, config.id_dropout)
        weights.into("network", network)
        weights.into("encoder", encoder)
        fit = RankerFit(data, content_of(rest), spec, network, encoder, config, said["seed"], team)
        fit.run(_Steps(step))


class _Steps:
    """training.progress.Progress of what one step of a job does."""

    def __init__(self, step: Step) -> None:
        self._step = step

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Step]:
        yield self._step

    def say(self, text: str) -> None:
        pass


@contextmanager
def _begun(job: Job, team: Member) -> Iterator[tuple[dict[str, Any], dict[str, Any], Vocabulary, Weights, Step]]:
    """What the job says, with the seed set; the first worker writes down its steps."""
    said = job.told()
    torch.manual_seed(said["seed"])
    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    words = Vocabulary.load(job.folder)
    weights = Weights.load(job.folder, moved_rows(words, words))
    # What the networks make for themselves is made where they are.
    with torch.device(team.device), (job.folder / STEPS_FILE).open("a", encoding="utf-8") as file:
        done, last = 0, 0.0

        def step(advance: int, message: str) -> None:
            nonlocal done, last
            done += advance
            if team.rank == 0 and (not advance or time.monotonic() - last > TOLD_S):
                file.write(json.dumps([done, message]) + "\n")
                file.flush()
                done, last = 0, time.monotonic()

        yield said, job.rest(), words, weights, step
        step(0, "")


def _share() -> pl.DataFrame:
    """This worker's share of the examples, as Ray Data deals them."""
    shard = ray.train.get_dataset_shard("train")
    parts = [pl.from_arrow(table) for table in shard.iter_batches(batch_format="pyarrow", batch_size=65_536)]
    frame = pl.concat([part for part in parts if isinstance(part, pl.DataFrame)])
    return frame
