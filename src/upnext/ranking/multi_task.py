"""The ranker as it serves: one multi-task network, run by ONNX Runtime, a column a task.

What depends on the item alone was computed offline (one vector an item); what depends on the request alone is
computed once a request. Architecture: training/ranker.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime as ort

from upnext.errors import ArtifactError
from upnext.ranking.tokens import Tokens, tokens
from upnext.types import Candidates, Column, Float32, Int32, Requests
from upnext.vectors import ItemTable

SCORER_FILE = "scorer.onnx"
ITEM_ENCODER_FILE = "item_encoder.onnx"
ITEM_VECTORS_FILE = "item_vectors.npy"
SPEC_FILE = "ranker.json"
LEAST_ROWS = 200  # of a part: fewer are not worth a thread


@dataclass(frozen=True, slots=True)
class RankerSpec:
    """What the network was trained on: names and sizes that serving must reproduce."""

    binary_tasks: tuple[str, ...]
    seconds_tasks: tuple[str, ...]
    actions: tuple[str, ...]  # event type of each action bit
    history_size: int
    feature_names: tuple[str, ...]
    request_features: int  # of them, from the first: the same for all rows of a request, and so read once

    def save(self, directory: Path) -> None:
        (directory / SPEC_FILE).write_text(
            json.dumps({name: getattr(self, name) for name in self.__slots__}, indent=1), encoding="utf-8"
        )

    @classmethod
    def load(cls, directory: Path) -> RankerSpec:
        """Raises ArtifactError when the file is missing or not what it should be."""
        try:
            stored = json.loads((directory / SPEC_FILE).read_text(encoding="utf-8"))
            names = ("binary_tasks", "seconds_tasks", "actions", "feature_names")
            return cls(
                **{name: tuple(stored[name]) for name in names},
                history_size=int(stored["history_size"]),
                request_features=int(stored["request_features"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{directory / SPEC_FILE}: not readable ({error}). Train again.") from error

    @property
    def columns(self) -> tuple[str, ...]:
        """The prediction columns, in the network's order."""
        seconds = [name for task in self.seconds_tasks for name in (f"{task}_seconds", f"{task}_seconds_median")]
        return (*(f"p_{task}" for task in self.binary_tasks), *seconds)

    def action_bits(self, event_names: Sequence[str]) -> Int32:
        """The action bit of each event type code, -1 for types the network does not know; room for 256 types."""
        bits = np.full(256, -1, np.int32)
        for code, name in enumerate(event_names):
            if name in self.actions:
                bits[code] = self.actions.index(name)
        return bits


UserInputs = Callable[[Requests], Mapping[str, Int32]]
"""Codes of the request's user: ``user [B]``, ``attribute [B, A]``, ``surface [B]`` in the training's vocabulary."""


class MultiTask:
    """stages.Ranker over an exported network."""

    name = "multi_task"

    def __init__(
        self,
        spec: RankerSpec,
        scorer: ort.InferenceSession,
        item_vectors: Callable[[], ItemTable],
        user_inputs: UserInputs,
        event_names: Callable[[], Sequence[str]],
        threads: int = 1,
    ) -> None:
        """Items without a vector in ``item_vectors()`` score as an item of which nothing is known.

        ``threads`` work on one request.
        """
        self.spec = spec
        self.scorer = scorer
        self._vectors = item_vectors
        self._user_inputs = user_inputs
        self._event_names = event_names
        self._threads = threads
        self._pool = ThreadPoolExecutor(max(threads - 1, 1), thread_name_prefix="ranker")

    def __call__(self, requests: Requests, candidates: Candidates) -> Mapping[str, Column]:
        if candidates.features is None or candidates.feature_names != self.spec.feature_names:
            raise ArtifactError("the ranker was trained on other features than it is given; train again")
        history = tokens(
            requests.acted, requests.now, self.spec.action_bits(self._event_names()), self.spec.history_size
        )
        user = self._user_inputs(requests)
        out = np.zeros((len(candidates), len(self.spec.columns)), np.float32)
        for request in range(candidates.batch):
            rows = slice(int(candidates.offsets[request]), int(candidates.offsets[request + 1]))
            if rows.stop > rows.start:
                out[rows] = self._score(
                    candidates.features[rows], candidates.item[rows], history.take(np.array([request])),
                    {name: codes[request : request + 1] for name, codes in user.items()},
                )  # fmt: skip
        return {name: out[:, column] for column, name in enumerate(self.spec.columns)}

    def _score(self, features: Float32, items: Int32, history: Tokens, user: Mapping[str, Int32]) -> Float32:
        """The rows in parts, as many at once as there are threads: finer than within a run, rows need no exchange."""
        vectors, shared = self._vectors(), self.spec.request_features
        history = history.used()
        of_request = {
            "request": features[:1, :shared],
            "history": vectors[history.item],
            "known": (history.item >= 0).astype(np.float32),
            "actions": history.actions,
            "value": history.value,
            "age": history.age,
            **{name: codes.astype(np.int64) for name, codes in user.items()},
        }

        def score(rows: slice) -> Float32:
            of_rows = {"features": features[rows, shared:], "item": vectors[items[rows]]}
            return np.asarray(self.scorer.run(None, {**of_rows, **of_request})[0], np.float32)

        parts = min(self._threads, max(len(items) // LEAST_ROWS, 1))
        edges = np.linspace(0, len(items), parts + 1).astype(np.int64).tolist()
        first, *others = (slice(start, stop) for start, stop in pairwise(edges))
        running = [self._pool.submit(score, rows) for rows in others]
        scored = [score(first), *(part.result() for part in running)]
        return np.concatenate(scored) if running else scored[0]


def open_session(path: Path, threads: int = 1) -> ort.InferenceSession:
    """An ONNX Runtime session that stays on ``threads`` threads. Raises ArtifactError when it cannot be loaded."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises its own unexported classes
        raise ArtifactError(f"{path}: cannot be loaded ({error}). Train again, or roll back.") from error
