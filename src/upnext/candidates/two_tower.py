"""Two-tower: nearest items to a user vector that is computed from the history as it stands now.

The user tower reads item vectors, not ids: an item embedded a moment ago counts as soon as it is watched.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from upnext.candidates.history import not_to_propose, preference
from upnext.candidates.index import ASKING, EXACT_BELOW, ItemIndex
from upnext.candidates.nearest import nearest, pair_scores
from upnext.candidates.remembered import Remembered
from upnext.candidates.topk import none
from upnext.compiled import compiled
from upnext.content import ItemContent, Vocabulary, place_users
from upnext.errors import ArtifactError
from upnext.types import NO_ITEM, Candidates, Float32, Int32, Int64, Ragged, Requests
from upnext.vectors import Vectors

USER_TOWER_FILE = "user_tower.onnx"
ITEM_TOWER_FILE = "item_tower.onnx"
VECTORS_FILE = "item_vectors.npy"
SETTINGS_FILE = "two_tower.json"

REQUESTS = 1024  # requests a run of the user tower
ITEMS = 8192  # items a run of the item tower
SCANNED = 1 << 16  # items at once of an exact search


@dataclass(frozen=True, slots=True)
class RecentItems:
    """The input of the user tower: the last K positive items, oldest first, right-aligned; weight 0 = no item."""

    item: Int32  # [B, K]
    weight: Float32  # [B, K], summed over consecutive events of one item
    at: Int64  # [B, K], when the last of them happened


def recent_items(requests: Requests, preferred: Float32, size: int) -> RecentItems:
    """The last ``size`` items with a positive ``preferred [B, K]``; neighbours of the same item become one."""
    return RecentItems(*_recent(requests.acted.item, requests.acted.at, preferred, size))


class TwoTower:
    """Source and PairScorer. Scores are cosines of user and item vectors, in [-1, 1]; 0 for what it knows nothing of.

    The user vectors of the last few Requests objects are remembered by identity, so that proposing and scoring
    compute them once: a Requests object must not be filled with another history afterwards (it is frozen).
    """

    name = "two_tower"

    def __init__(
        self,
        user_tower: Any,
        item_tower: Any,
        vectors: Vectors,
        index: ItemIndex,
        vocabulary: Vocabulary,
        history_size: int,
        weight: Float32,
        least: Float32,
        attributes: Callable[[Int32], Int32],
        surfaces: Callable[[Any], Int32],
    ) -> None:
        """``vectors`` are unit item vectors, zeros where unknown; ``weight``, ``least`` are by event type.

        ``attributes(user codes [B])`` and ``surfaces(surface codes [B])`` give vocabulary codes of now
        (content.encode_users, content.encode_surfaces); the towers are ONNX Runtime sessions.
        """
        self.vocabulary = vocabulary
        self._user_tower, self._item_tower = user_tower, item_tower
        self._vectors, self._index = vectors, index
        self._history_size = history_size
        self._weight, self._least = weight, least
        self._attributes, self._surfaces = attributes, surfaces
        self._users = Remembered(self._user_vectors)
        self._wanted = {entry.name for entry in user_tower.get_inputs()}  # the plain average reads no times
        self._lock, self._rebuilding = threading.Lock(), threading.Lock()
        self._meanwhile: list[tuple[Int32, Float32 | None]] | None = None  # changes while the index is built anew

    @classmethod
    def load(
        cls,
        directory: Path,
        weight: Float32,
        least: Float32,
        attributes: Callable[[Int32], Int32],
        surfaces: Callable[[Any], Int32],
    ) -> TwoTower:
        """Raises ArtifactError when a file is missing, damaged, or does not fit the others."""
        vocabulary = Vocabulary.load(directory)
        try:
            vectors = Vectors.load(directory / VECTORS_FILE)
            settings = json.loads((directory / SETTINGS_FILE).read_text(encoding="utf-8"))
            size, history_size = int(settings["embedding_size"]), int(settings["history_size"])
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"{directory}: no readable two-tower model ({error}). Run `upnext train`.") from error
        index = ItemIndex.load(directory, vectors)
        if vectors.size != size or index.size != size:
            found = f"item vectors of length {vectors.size}, an index of {index.size}, towers of {size}"
            raise ArtifactError(f"{directory}: {found} do not belong together. Run `upnext train`.")
        towers = open_session(directory / USER_TOWER_FILE), open_session(directory / ITEM_TOWER_FILE)
        return cls(*towers, vectors, index, vocabulary, history_size, weight, least, attributes, surfaces)

    def __call__(self, requests: Requests, k: int) -> Candidates:
        if k == 0 or len(requests) == 0:
            return none(len(requests))
        return nearest(self._index, self.user_vectors(requests), not_to_propose(requests), k)

    def score(self, requests: Requests, candidates: Candidates) -> Float32:
        users, vectors = self.user_vectors(requests), self._vectors[candidates.item]  # unknown vectors are zeros
        return pair_scores(users, vectors, np.arange(len(vectors), dtype=np.int32), candidates.offsets)

    def user_vectors(self, requests: Requests) -> Float32:
        """Unit vectors ``[B, d]``; the mean anchor where a request names anchors; zeros where nothing is known."""
        return self._users(requests)

    def _user_vectors(self, requests: Requests) -> Float32:
        parts = [self._embed_users(part) for part in _chunks(requests)]
        vectors = np.concatenate(parts) if parts else np.zeros((0, self._index.size), np.float32)
        return self._toward_anchors(vectors, requests.anchors)

    def embed_items(self, content: ItemContent) -> Float32:
        """Unit item vectors ``[n, d]`` from content, by the item tower."""
        wanted = {entry.name for entry in self._item_tower.get_inputs()}
        parts = [np.empty((0, self._index.size), np.float32)]
        for first in range(0, len(content), ITEMS):
            columns = content.take(slice(first, first + ITEMS)).columns()
            inputs = {name: column for name, column in columns.items() if name in wanted}
            parts.append(self._item_tower.run(None, inputs)[0])
        return np.concatenate(parts)

    def upsert(self, codes: Int32, content: ItemContent) -> None:
        """Items that are new, or whose content changed, are found from now on by their content."""
        if not len(codes):
            return
        embedded = self.embed_items(content)
        with self._lock:
            self._vectors.put(codes, embedded)
            self._change(codes, embedded)

    def remove(self, codes: Int32) -> None:
        """Items that are no longer proposed; their vectors still explain the histories they are in."""
        with self._lock:
            self._change(codes, None)

    @property
    def index(self) -> ItemIndex:
        """The index that searches now; another one after a rebuild."""
        return self._index

    def rebuild(self, exact_below: int = EXACT_BELOW) -> None:
        """Put everything into a new main part. Searches go on with the old index until the new one is complete.

        It searches exactly where there are fewer items than ``exact_below``.
        """
        with self._rebuilding:
            with self._lock:
                self._meanwhile = []
                codes = self._index.codes()
            try:
                fresh = ItemIndex.build_of(codes, self._vectors, exact_below, self.latest_queries(ASKING))
            except BaseException:
                self._meanwhile = None
                raise
            with self._lock:
                for changed, embedded in self._meanwhile:
                    _apply(fresh, changed, embedded)
                self._index, self._meanwhile = fresh, None

    def recall(self, queries: Float32, k: int) -> float:
        """Share of the exact k nearest of ``queries [n, d]`` that the index finds; 1 where there is nothing to find."""
        index = self._index
        codes = index.codes()
        k = min(k, len(codes))
        if k == 0 or not len(queries):
            return 1.0
        exact, scores = np.empty((len(queries), 0), np.int32), np.empty((len(queries), 0), np.float32)
        for first in range(0, len(codes), SCANNED):
            some = codes[first : first + SCANNED]
            exact = np.concatenate([exact, np.broadcast_to(some, (len(queries), len(some)))], axis=1)
            scores = np.concatenate([scores, queries @ self._vectors[some].T], axis=1)
            if scores.shape[1] > k:
                best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
                exact, scores = np.take_along_axis(exact, best, axis=1), np.take_along_axis(scores, best, axis=1)
        found = index.search(queries, k)[0]
        hits = sum(len(np.intersect1d(best, mine)) for best, mine in zip(exact, found, strict=True))
        return hits / (k * len(queries))

    def latest_queries(self, most: int) -> Float32:
        """User vectors of the latest requests, ``[n, d]``: what a measurement of the index should ask."""
        kept = [users for users in self._users.latest(most) if len(users)]
        queries = np.concatenate(kept) if kept else np.empty((0, self._index.size), np.float32)
        return queries[queries.any(axis=1)][:most]

    def _change(self, codes: Int32, embedded: Float32 | None) -> None:
        _apply(self._index, codes, embedded)
        if self._meanwhile is not None:
            self._meanwhile.append((codes, embedded))

    def _embed_users(self, requests: Requests) -> Float32:
        preferred = preference(requests.acted, self._weight, self._least)
        preferred *= self._vectors.known(requests.acted.item)
        recent = recent_items(requests, preferred, self._history_size)
        inputs: dict[str, Any] = {
            "user": place_users(requests.user, self.vocabulary),
            "vectors": self._vectors[recent.item],
            "weight": recent.weight,
            "at": recent.at,
            "now": requests.now,
            "attributes": self._attributes(requests.user),
            "surface": self._surfaces(requests.surface),
        }
        anything = (inputs["user"] > 0) | recent.weight.any(axis=1) | inputs["attributes"].any(axis=1)
        read = {name: column for name, column in inputs.items() if name in self._wanted}
        embedded: Float32 = self._user_tower.run(None, read)[0]
        embedded[~anything] = 0
        return embedded

    def _toward_anchors(self, vectors: Float32, anchors: Ragged) -> Float32:
        if not len(anchors.item):
            return vectors
        request = np.repeat(np.arange(len(vectors)), np.diff(anchors.offsets))
        total = np.zeros_like(vectors)
        np.add.at(total, request, self._vectors[anchors.item])
        length = np.linalg.norm(total, axis=1, keepdims=True)
        toward = total / np.maximum(length, np.float32(1e-12))
        return np.where((np.diff(anchors.offsets) > 0)[:, None], toward, vectors)


@compiled(
    "Tuple((int32[:, ::1], float32[:, ::1], int64[:, ::1]))(Array(int32, 2, 'A', readonly=True),"
    "Array(int64, 2, 'A', readonly=True), Array(float32, 2, 'A', readonly=True), int64)"
)
def _recent(acted: Any, acted_at: Any, preferred: Any, size: int) -> Any:
    """The columns of ``RecentItems [B, size]``, of a history ``[B, K]``: read from its end, until there are enough."""
    batch = len(acted)
    item, weight = np.full((batch, size), NO_ITEM, np.int32), np.zeros((batch, size), np.float32)
    at = np.zeros((batch, size), np.int64)
    for request in range(batch):
        column = size
        for slot in range(acted.shape[1] - 1, -1, -1):
            if not preferred[request, slot] > 0:
                continue
            if column < size and item[request, column] == acted[request, slot]:
                weight[request, column] += preferred[request, slot]
                continue
            if column == 0:
                break
            column -= 1
            item[request, column], at[request, column] = acted[request, slot], acted_at[request, slot]
            weight[request, column] = preferred[request, slot]
    return item, weight, at


def _apply(index: ItemIndex, codes: Int32, embedded: Float32 | None) -> None:
    if embedded is None:
        index.remove(codes)
    else:
        index.add(codes, embedded)


def open_session(path: Path) -> Any:
    """An ONNX Runtime session of one thread: requests run beside each other, not within each other."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no narrower public class
        raise ArtifactError(f"{path}: not a readable network ({error}). Run `upnext train`.") from error


def _chunks(requests: Requests) -> list[Requests]:
    """The batch in parts that keep memory bounded; anchors and exclusions are not needed here."""
    if len(requests) <= REQUESTS:
        return [requests]
    return [_part(requests, slice(first, first + REQUESTS)) for first in range(0, len(requests), REQUESTS)]


def _part(requests: Requests, rows: slice) -> Requests:
    batch = len(requests.user[rows])
    return Requests(
        user=requests.user[rows],
        now=requests.now[rows],
        surface=requests.surface[rows],
        k=requests.k,
        acted=requests.acted.take(rows),
        shown=requests.shown.take(rows),
        exclude=Ragged.empty(batch),
        anchors=Ragged.empty(batch),
    )
