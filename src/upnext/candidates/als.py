"""Matrix factorisation: nearest items to a user vector that is folded in from the history as it stands now.

Hu, Koren, Volinsky: Collaborative filtering for implicit feedback datasets, ICDM 2008. Only item factors are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from upnext.candidates.history import not_to_propose, visits
from upnext.candidates.index import INDEX_FILE, ItemIndex
from upnext.candidates.nearest import nearest, pair_scores
from upnext.candidates.remembered import Remembered
from upnext.candidates.topk import best_of_matrix, none, stack
from upnext.compiled import compiled
from upnext.errors import ArtifactError
from upnext.types import Candidates, Float32, Int32, Int64, Requests

CELLS = 1 << 24  # scores held at once: 64 MB


@dataclass(frozen=True, slots=True)
class ALSFactors:
    """What training leaves behind. A (user, item) of summed event weight w has confidence 1 + ``alpha`` * w."""

    item: Float32  # [n, d], of the items that somebody acted on: most of a large catalogue were never
    codes: Int32  # [n], theirs, rising
    regularization: float
    alpha: float
    index: ItemIndex | None = None  # None = few enough items to score them all

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "item_factors.npy", self.item, allow_pickle=False)
        np.save(directory / "item_codes.npy", self.codes, allow_pickle=False)
        settings = {"regularization": self.regularization, "alpha": self.alpha}
        (directory / "als.json").write_text(json.dumps(settings), encoding="utf-8")
        if self.index is not None:
            self.index.save(directory)

    @classmethod
    def load(cls, directory: Path) -> ALSFactors:
        """Raises ArtifactError when a file is missing or damaged."""
        try:
            item = np.load(directory / "item_factors.npy", allow_pickle=False)
            codes = np.load(directory / "item_codes.npy", allow_pickle=False)
            settings = json.loads((directory / "als.json").read_text(encoding="utf-8"))
            regularization, alpha = float(settings["regularization"]), float(settings["alpha"])
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"{directory}: no readable ALS factors ({error}). Run `upnext train`.") from error
        if codes.shape != item.shape[:1]:
            raise ArtifactError(f"{directory}: {len(item)} factors and {len(codes)} codes. Run `upnext train`.")
        index = ItemIndex.load(directory) if (directory / INDEX_FILE).exists() else None
        return cls(item, codes, regularization, alpha, index)


class ALS:
    """Source and PairScorer. Scores are predicted preferences: about 0 for a stranger, about 1 for a liked item."""

    name = "als"

    def __init__(self, factors: ALSFactors, weight: Float32, least: Float32) -> None:
        """``weight`` and ``least`` by event type code, as ``event_weights`` makes them."""
        self._item, self._codes = np.ascontiguousarray(factors.item, np.float32), factors.codes
        self._row: Int32 = np.full(int(self._codes.max(initial=-1)) + 2, len(self._item), np.int32)
        self._row[self._codes] = np.arange(len(self._item))  # the last place stays for all beyond
        self._alpha = factors.alpha
        self._index = factors.index
        self._weight, self._least = weight, least
        self._users = Remembered(self.fold_in)
        ridge = factors.regularization * np.eye(self._item.shape[1])
        self._gramian = (self._item.T @ self._item).astype(np.float64) + ridge

    def __call__(self, requests: Requests, k: int) -> Candidates:
        if k == 0 or len(requests) == 0:
            return none(len(requests))
        users = self._users(requests)
        request, item = not_to_propose(requests)
        row = self._rows(item)
        inside = row < len(self._item)
        request, item, row = request[inside], item[inside], row[inside]
        if self._index is not None:
            return nearest(self._index, users, (request, item), k, above=0)
        return stack([self._best(users, request, row, some, k) for some in self._slices(len(users))])

    def score(self, requests: Requests, candidates: Candidates) -> Float32:
        return pair_scores(self._users(requests), self._item, self._rows(candidates.item), candidates.offsets)

    def fold_in(self, requests: Requests) -> Float32:
        """User vectors ``[B, d]`` that solve the ALS equation for each history; 0 where nothing is known."""
        seen = visits(requests, self._weight, self._least)
        row = self._rows(seen.item)
        users = _fold_in(self._gramian, self._item, self._alpha, row, seen.weight, seen.offsets)
        return users

    def _rows(self, item: Int32) -> Int32:
        """The row of each item's factors; one beyond the last where it has none, or is no item (-1)."""
        return self._row[np.minimum(item.view(np.uint32), len(self._row) - 1)]

    def _best(self, users: Float32, request: Int64, row: Int32, some: slice, k: int) -> Candidates:
        """The k items with the highest positive scores of the requests ``some``, without the pairs (request, row)."""
        scores = users[some] @ self._item.T
        mine = slice(None) if len(scores) == len(users) else (request >= some.start) & (request < some.stop)
        scores[request[mine] - some.start, row[mine]] = 0
        found = best_of_matrix(scores, k)
        return replace(found, item=self._codes[found.item])

    def _slices(self, batch: int) -> Iterator[slice]:
        step = max(1, CELLS // max(1, len(self._item)))
        for start in range(0, batch, step):
            yield slice(start, min(start + step, batch))


@compiled(
    "float32[:, ::1](float64[:, ::1], Array(float32, 2, 'C', readonly=True), float64, int32[::1], float32[::1],"
    "int64[::1])"
)
def _fold_in(gramian: Any, items: Any, alpha: float, item: Any, weight: Any, offsets: Any) -> Any:
    """x ``[B, d]`` of (Y'Y + reg I + Y' (C - I) Y) x = Y' C 1, for the visits of each request; 0 without any.

    ``gramian`` is Y'Y + reg I ``[d, d]``. The matrix is symmetric and positive: solved by L D L', in double precision.
    """
    size, batch = items.shape[1], len(offsets) - 1
    users = np.zeros((batch, size), np.float32)
    normal, target, vector = np.empty((size, size)), np.empty(size), np.empty(size)
    summed = np.empty(len(item), np.float64)
    for request in range(batch):
        for row in range(size):
            target[row] = 0
            for column in range(row, size):
                normal[row, column] = gramian[row, column]
        known = False
        for visit in range(offsets[request], offsets[request + 1]):
            summed[visit] = 0
            first = offsets[request]
            while item[first] != item[visit]:
                first += 1
            summed[first] += weight[visit]  # an item that was turned to twice has one confidence
        for visit in range(offsets[request], offsets[request + 1]):
            if summed[visit] == 0 or item[visit] >= len(items):
                continue
            known = True
            for row in range(size):
                vector[row] = items[item[visit], row]
            extra = alpha * summed[visit]  # confidence beyond that of an unseen item
            for row in range(size):
                target[row] += (1 + extra) * vector[row]
                share = extra * vector[row]
                for column in range(row, size):
                    normal[row, column] += share * vector[column]
        if not known:
            continue
        for pivot in range(size):
            for row in range(pivot + 1, size):
                share = normal[pivot, row] / normal[pivot, pivot]
                target[row] -= share * target[pivot]
                for column in range(row, size):
                    normal[row, column] -= share * normal[pivot, column]
        for row in range(size - 1, -1, -1):
            for column in range(row + 1, size):
                target[row] -= normal[row, column] * target[column]
            target[row] /= normal[row, row]
            users[request, row] = target[row]
    return users
