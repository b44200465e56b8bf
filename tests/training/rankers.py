"""Small examples whose rule is known, and small networks: what the tests of the ranker share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from upnext.config import RankingConfig, TaskConfig
from upnext.content import ItemContent, Vocabulary
from upnext.ids import IdMap
from upnext.ranking.multi_task import RankerSpec
from upnext.ranking.tokens import Tokens
from upnext.training.fitted_ranker import FittedRanker
from upnext.training.item_encoder import ItemEncoder
from upnext.training.progress import Silent
from upnext.training.ranker import fit_ranker
from upnext.training.ranker_fit import RankerData
from upnext.training.ranker_network import RankerNetwork
from upnext.types import Float32, Float64, Int16

ITEMS, SEEN, FEATURES, TOKENS, ROWS = 30, 24, 4, 5, 8
SHARED = 1  # features of random_ranker that are the same for all rows of a request
NAMES = tuple(f"f{n}" for n in range(FEATURES))
ACTIONS = ("click", "like")
CLICK, LIKE = TaskConfig(event="click"), TaskConfig(event="like")
WATCH = TaskConfig(event="watch", kind="seconds", cap=300)
CONFIG = RankingConfig(
    embedding_size=16, experts=2, expert_sizes=(16, 8), attention_heads=2, history_size=TOKENS, epochs=6,
    batch_size=256, learning_rate=1e-2, dropout=0.0, id_dropout=0.0,
)  # fmt: skip


def vocabulary() -> Vocabulary:
    return Vocabulary(
        title=IdMap(["red", "fox", "runs"]),
        category=IdMap(["news", "sport"]),
        author=IdMap(["ann"]),
        attribute=IdMap(["country=a", "country=b"]),
        surface=IdMap(["", "home"]),
        items=np.arange(SEEN, dtype=np.int32),
        users=np.arange(5, dtype=np.int32),
        vector_size=0,
    )


def content(items: int = ITEMS) -> ItemContent:
    """Items from SEEN on are new: only their content is known."""
    random = np.random.default_rng(5)
    code = np.arange(items, dtype=np.int32)
    return ItemContent(
        id=np.where(code < SEEN, code + 1, 0).astype(np.int32),
        title=random.integers(0, 4, (items, 3)).astype(np.int32),
        category=random.integers(0, 3, (items, 2)).astype(np.int32),
        author=random.integers(0, 2, items).astype(np.int32),
        duration=random.integers(0, 32, items).astype(np.int32),
        vector=np.zeros((items, 0), np.float32),
        has_vector=np.zeros(items, np.float32),
    )


def no_history(batch: int) -> Tokens:
    nothing = np.zeros((batch, TOKENS), np.float32)
    return Tokens(np.full((batch, TOKENS), -1, np.int32), nothing, nothing, nothing)


def examples(
    features: Float32, labels: Mapping[str, Float32], position: Int16 | None = None, validation: float = 0.2
) -> RankerData:
    """Requests of ROWS rows each, without any history, the items at random."""
    rows = len(features)
    batch = rows // ROWS
    random = np.random.default_rng(1)
    return RankerData(
        item=random.integers(0, SEEN, rows).astype(np.int32),
        offsets=np.arange(0, rows + 1, ROWS),
        features=features,
        request_features=0,
        position=np.full(rows, -1, np.int16) if position is None else position,
        labels=labels,
        history=no_history(batch),
        user=np.zeros(batch, np.int32),
        attribute=np.zeros((batch, 1), np.int32),
        surface=np.zeros(batch, np.int32),
        validation_from=int(batch * (1 - validation)),
    )


def fit(
    data: RankerData,
    tasks: Mapping[str, TaskConfig],
    seed: int = 0,
    names: tuple[str, ...] = NAMES,
    in_order: bool = True,
    **settings: object,
) -> FittedRanker:
    config = CONFIG.model_copy(update=settings)
    words = vocabulary()
    return fit_ranker(data, content(), words, tasks, names, ACTIONS, config, seed, Silent(), in_order=in_order)


@torch.no_grad()
def predict(fitted: FittedRanker, data: RankerData) -> Float32:
    """What serving answers, request by request, ``[N, columns]``."""
    vectors = fitted.encoder.eval()(*(torch.from_numpy(column) for column in fitted.content.columns().values()))
    answers = []
    for request in range(data.batch):
        rows = slice(int(data.offsets[request]), int(data.offsets[request + 1]))
        one = data.history.take(np.array([request])).used()
        shared = data.request_features
        known = torch.from_numpy((one.item >= 0).astype(np.float32))
        history = vectors[torch.from_numpy(np.maximum(one.item, 0)).long()] * known.unsqueeze(-1)
        of_request = [np.array(column[request : request + 1]) for column in (data.user, data.attribute, data.surface)]
        answers.append(
            fitted.network.eval()(
                torch.from_numpy(data.features[rows, shared:]),
                vectors[torch.from_numpy(data.item[rows]).long()],
                torch.from_numpy(data.features[min(rows.start, len(data.item) - 1), :shared][None]),
                history,
                known,
                *(torch.from_numpy(column) for column in (one.actions, one.value, one.age)),
                *(torch.from_numpy(column.astype(np.int64)) for column in of_request),
            ).numpy()
        )
    return np.concatenate(answers)


def without_position(data: RankerData) -> RankerData:
    return replace(data, position=np.full(len(data.item), -1, np.int16))


def logistic(logit: Float64 | Float32) -> Float64:
    return 1 / (1 + np.exp(-np.asarray(logit, np.float64)))


def random_ranker(binary: tuple[str, ...], seconds: tuple[str, ...], seed: int = 0) -> FittedRanker:
    """Untrained, so that all parts of the network matter."""
    torch.manual_seed(seed)
    words = vocabulary()
    edges = [np.array([0, 1e-3, 10, 60, 300], np.float32) for _ in seconds]
    network = RankerNetwork(
        features=FEATURES, request_features=SHARED, item_size=16,
        attributes=len(words.attribute), surfaces=len(words.surface), users=len(words.users),
        actions=len(ACTIONS), binary_tasks=binary, seconds_tasks=seconds, edges=edges,
        experts=2, expert_sizes=(16, 8), heads=2, dropout=0.3, id_dropout=0.5,
    )  # fmt: skip
    with torch.no_grad():
        for table in (network.user, network.attribute, network.surface):
            table.weight[1:].normal_()
        for s in range(len(seconds)):
            getattr(network, f"centres_{s}").copy_(torch.tensor([0.0, 5, 30, 150]))
        network.platt[:] = torch.tensor([0.7, -0.3])
    spec = RankerSpec(binary, seconds, ACTIONS, TOKENS, NAMES, SHARED)
    return FittedRanker(spec, network.eval(), ItemEncoder(words, 16, 0.5).eval(), content(), [])


def saved(fitted: FittedRanker, directory: Path) -> Path:
    fitted.save(directory)
    return directory
