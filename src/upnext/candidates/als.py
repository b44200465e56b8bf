"""Matrix factorisation: nearest items to a user vector that is folded in from the history as it stands now.

Hu, Koren, Volinsky: Collaborative filtering for implicit feedback datasets, ICDM 2008. Only item factors are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from upnext.candidates.history import Visits, not_to_propose, visits
from upnext.candidates.index import INDEX_FILE, ItemIndex
from upnext.candidates.remembered import Remembered
from upnext.candidates.topk import best, best_of_matrix, none, stack
from upnext.errors import ArtifactError
from upnext.types import NO_ITEM, Candidates, Float32, Int32, Int64, Requests

CELLS = 1 << 24  # scores held at once: 64 MB
REQUESTS = 1024  # requests folded in at once
ROWS = 1 << 16  # pairs scored at once


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
        ridge = factors.regularization * np.eye(self._item.shape[1], dtype=np.float32)
        self._gramian = self._item.T @ self._item + ridge

    def __call__(self, requests: Requests, k: int) -> Candidates:
        if k == 0 or len(requests) == 0:
            return none(len(requests))
        users = self._users(requests)
        request, item = not_to_propose(requests)
        item = self._rows(item)
        inside = item < len(self._item)
        request, item = request[inside], item[inside]
        width = len(self._item) if self._index is None else k + int(np.bincount(request, minlength=1).max())
        parts = []
        for rows in _slices(len(users), max(1, CELLS // max(1, width))):
            mine = (request >= rows.start) & (request < rows.stop)
            parts.append(self._nearest(users[rows], request[mine] - rows.start, item[mine], k))
        return stack(parts)

    def score(self, requests: Requests, candidates: Candidates) -> Float32:
        users, request, item = self._users(requests), candidates.request, self._rows(candidates.item)
        scores = np.zeros(len(item), np.float32)
        known = np.flatnonzero(item < len(self._item))
        for rows in _slices(len(known), ROWS):
            some = known[rows]
            scores[some] = np.einsum("nd,nd->n", users[request[some]], self._item[item[some]])
        return scores

    def fold_in(self, requests: Requests) -> Float32:
        """User vectors ``[B, d]`` that solve the ALS equation for each history; 0 where nothing is known."""
        seen = visits(requests, self._weight, self._least)
        seen = replace(seen, item=self._rows(seen.item))
        seen = seen.keep(seen.item < len(self._item)).summed()
        users = np.zeros((len(requests), self._item.shape[1]), np.float32)
        liked = np.flatnonzero(np.diff(seen.offsets))
        for rows in _slices(len(liked), REQUESTS):
            users[liked[rows]] = self._solve(seen, liked[rows])
        return users

    def _rows(self, item: Int32) -> Int32:
        """The row of each item's factors; one beyond the last where it has none, or is no item (-1)."""
        return self._row[np.minimum(item.view(np.uint32), len(self._row) - 1)]

    def _solve(self, seen: Visits, some: Int64) -> Float32:
        """(Y'Y + reg I + Y' (C - I) Y) x = Y' C 1 for the requests ``some``, of which each has a visit."""
        item, weight = seen.padded(some)
        taken = self._item[np.maximum(item, 0)]  # [b, m, d]
        extra = np.where(item != NO_ITEM, self._alpha * weight, 0)  # confidence beyond that of an unseen item
        confidence = np.where(item != NO_ITEM, 1 + extra, 0)
        normal = self._gramian + taken.transpose(0, 2, 1) @ (taken * extra[:, :, None])
        target = np.einsum("bm,bmd->bd", confidence, taken)
        return np.linalg.solve(normal, target[:, :, None])[:, :, 0]

    def _nearest(self, users: Float32, request: Int64, item: Int32, k: int) -> Candidates:
        """The k items with the highest positive scores, without the pairs (request, row)."""
        if self._index is None:
            scores = users @ self._item.T
            scores[request, item] = 0
            found = best_of_matrix(scores, k)
            return replace(found, item=self._codes[found.item])
        refused = np.sort(request << 32 | self._codes[item])
        near, scores = self._index.search(users, k + int(np.bincount(request, minlength=1).max()))
        key = np.arange(len(users))[:, None] << 32 | near
        row, column = np.nonzero((scores > 0) & (near != NO_ITEM) & ~np.isin(key, refused))
        order = np.lexsort((near[row, column], row))
        row, column = row[order], column[order]
        return best(row, near[row, column], scores[row, column], len(users), k)


def _slices(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))
