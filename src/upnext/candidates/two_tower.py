"""Two-tower: nearest items to a user vector that is computed from the history as it stands now.

The user tower reads item vectors, not ids: an item embedded a moment ago counts as soon as it is watched.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from upnext.candidates.history import not_to_propose, preference
from upnext.candidates.index import ASKING, EXACT_BELOW
from upnext.candidates.item_space import ItemSpace, LocalSpace
from upnext.candidates.nearest import nearest, pair_scores
from upnext.candidates.remembered import Remembered
from upnext.candidates.topk import none
from upnext.compiled import compiled
from upnext.content import ItemContent, Vocabulary, place_users
from upnext.errors import ArtifactError
from upnext.types import NO_ITEM, Candidates, Float32, Int32, Int64, Ragged, Requests

USER_TOWER_FILE = "user_tower.onnx"
ITEM_TOWER_FILE = "item_tower.onnx"
SETTINGS_FILE = "two_tower.json"

REQUESTS = 1024  # requests a run of the user tower
ITEMS = 8192  # items a run of the item tower


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
        space: ItemSpace,
        vocabulary: Vocabulary,
        history_size: int,
        weight: Float32,
        least: Float32,
        attributes: Callable[[Int32], Int32],
        surfaces: Callable[[Any], Int32],
    ) -> None:
        """``space`` holds unit item vectors, zeros where unknown; ``weight``, ``least`` are by event type.

        ``attributes(user codes [B])`` and ``surfaces(surface codes [B])`` give vocabulary codes of now
        (content.encode_users, content.encode_surfaces); the towers are ONNX Runtime sessions.
        """
        self.vocabulary = vocabulary
        self._user_tower, self._item_tower = user_tower, item_tower
        self.space = space
        self._history_size = history_size
        self._weight, self._least = weight, least
        self._attributes, self._surfaces = attributes, surfaces
        self._users = Remembered(self._user_vectors)
        self._wanted = {entry.name for entry in user_tower.get_inputs()}  # the plain average reads no times

    @classmethod
    def load(
        cls,
        directory: Path,
        weight: Float32,
        least: Float32,
        attributes: Callable[[Int32], Int32],
        surfaces: Callable[[Any], Int32],
        space: ItemSpace | None = None,
    ) -> TwoTower:
        """``space`` None = that of the directory, in this process.

        Raises ArtifactError when a file is missing, damaged, or does not fit the others.
        """
        vocabulary = Vocabulary.load(directory)
        try:
            settings = json.loads((directory / SETTINGS_FILE).read_text(encoding="utf-8"))
            size, history_size = int(settings["embedding_size"]), int(settings["history_size"])
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"{directory}: no readable two-tower model ({error}). Run `upnext train`.") from error
        space = LocalSpace.load(directory) if space is None else space
        if space.size != size:
            found = f"item vectors of length {space.size} and towers of {size}"
            raise ArtifactError(f"{directory}: {found} do not belong together. Run `upnext train`.")
        towers = open_session(directory / USER_TOWER_FILE), open_session(directory / ITEM_TOWER_FILE)
        return cls(*towers, space, vocabulary, history_size, weight, least, attributes, surfaces)

    def __call__(self, requests: Requests, k: int) -> Candidates:
        if k == 0 or len(requests) == 0:
            return none(len(requests))
        return nearest(self.space, self.user_vectors(requests), not_to_propose(requests), k)

    def score(self, requests: Requests, candidates: Candidates) -> Float32:
        users, vectors = self.user_vectors(requests), self.space[candidates.item]  # unknown vectors are zeros
        return pair_scores(users, vectors, np.arange(len(vectors), dtype=np.int32), candidates.offsets)

    def user_vectors(self, requests: Requests) -> Float32:
        """Unit vectors ``[B, d]``; the mean anchor where a request names anchors; zeros where nothing is known."""
        return self._users(requests)

    def _user_vectors(self, requests: Requests) -> Float32:
        parts = [self._embed_users(part) for part in _chunks(requests)]
        vectors = np.concatenate(parts) if parts else np.zeros((0, self.space.size), np.float32)
        return self._toward_anchors(vectors, requests.anchors)

    def embed_items(self, content: ItemContent) -> Float32:
        """Unit item vectors ``[n, d]`` from content, by the item tower."""
        wanted = {entry.name for entry in self._item_tower.get_inputs()}
        parts = [np.empty((0, self.space.size), np.float32)]
        for first in range(0, len(content), ITEMS):
            columns = content.take(slice(first, first + ITEMS)).columns()
            inputs = {name: column for name, column in columns.items() if name in wanted}
            parts.append(self._item_tower.run(None, inputs)[0])
        return np.concatenate(parts)

    def upsert(self, codes: Int32, content: ItemContent) -> None:
        """Items that are new, or whose content changed, are found from now on by their content."""
        if len(codes):
            self.space.put(codes, self.embed_items(content))

    def remove(self, codes: Int32) -> None:
        """Items that are no longer proposed; their vectors still explain the histories they are in."""
        self.space.remove(codes)

    def rebuild(self, exact_below: int = EXACT_BELOW) -> None:
        """Put everything into a new main part of the index.

        It searches exactly where there are fewer items than ``exact_below``.
        """
        self.space.rebuild(self.latest_queries(ASKING), exact_below)

    def latest_queries(self, most: int) -> Float32:
        """User vectors of the latest requests, ``[n, d]``: what a measurement of the index should ask."""
        kept = [users for users in self._users.latest(most) if len(users)]
        queries = np.concatenate(kept) if kept else np.empty((0, self.space.size), np.float32)
        return queries[queries.any(axis=1)][:most]

    def _embed_users(self, requests: Requests) -> Float32:
        preferred = preference(requests.acted, self._weight, self._least)
        preferred *= self.space.known(requests.acted.item)
        recent = recent_items(requests, preferred, self._history_size)
        inputs: dict[str, Any] = {
            "user": place_users(requests.user, self.vocabulary),
            "vectors": self.space[recent.item],
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
        np.add.at(total, request, self.space[anchors.item])
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
