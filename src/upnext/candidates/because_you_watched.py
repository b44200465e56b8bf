"""Because you watched: what others turned to beside and after the items of this history, the latest counting most.

Item-kNN with shrinkage (Sarwar et al., WWW 2001; Bell and Koren, ICDM 2007) blended with directed co-visits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upnext.candidates.history import not_to_propose, visits
from upnext.candidates.remembered import Remembered
from upnext.candidates.topk import best, none, stack
from upnext.errors import ArtifactError
from upnext.types import NO_ITEM, Bool, Candidates, Float32, Float64, Int32, Int64, Requests

LEAST_DECAY = 0.01  # older visits than that cannot change the order any more
PAIRS = 1 << 21  # (visit, neighbour) pairs summed at once
DENSE_CELLS = 1 << 18  # up to here summing into one cell an item is faster than sorting
ARRAYS = ("indptr", "indices", "data")


@dataclass(frozen=True, slots=True)
class CoVisitation:
    """Neighbours of item i: ``indices[indptr[i]:indptr[i + 1]]``, with ``data`` > 0 as their similarities."""

    indptr: Int64  # [I + 1]
    indices: Int32
    data: Float32

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def similarity(self, seen: Int32, items: Int32) -> Float32:
        """How much each visit speaks for each distinct item: ``[V], [N] -> [V, N]``, N > 0; 0 for strangers."""
        found = np.zeros((len(seen), len(items)), np.float32)
        visit = np.flatnonzero((seen >= 0) & (seen < len(self)))
        start = self.indptr[seen[visit]]
        size = self.indptr[seen[visit].astype(np.int64) + 1] - start
        row = np.repeat(start - (np.cumsum(size) - size), size) + np.arange(size.sum())
        order = np.argsort(items)
        place = order[np.minimum(np.searchsorted(items, self.indices[row], sorter=order), len(items) - 1)]
        hit = items[place] == self.indices[row]
        found[np.repeat(visit, size)[hit], place[hit]] = self.data[row[hit]]
        return found

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for name in ARRAYS:
            np.save(directory / f"co_visitation_{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> CoVisitation:
        """Raises ArtifactError when a file is missing or damaged."""
        try:
            arrays = [np.load(directory / f"co_visitation_{name}.npy", allow_pickle=False) for name in ARRAYS]
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{directory}: no readable co-visitation ({error}). Run `upnext train`.") from error
        indptr, indices, data = arrays
        if not (len(indptr) and indptr[-1] == len(indices) == len(data)):
            raise ArtifactError(f"{directory}: the co-visitation files do not belong together. Run `upnext train`.")
        return cls(indptr, indices, data)


class BecauseYouWatched:
    """Source and PairScorer. A score is log(1 + similarity in percent), summed over the decayed history."""

    name = "because_you_watched"

    def __init__(self, neighbours: CoVisitation, history_decay: float, weight: Float32, least: Float32) -> None:
        """``weight`` and ``least`` by event type code, as ``event_weights`` makes them."""
        self._neighbours = neighbours
        self._decay = history_decay
        self._weight, self._least = weight, least
        self._summed_up = Remembered(lambda requests: list(self._sums(requests)))

    def __call__(self, requests: Requests, k: int) -> Candidates:
        batch, items = len(requests), len(self._neighbours)
        if k == 0 or batch == 0:
            return none(batch)
        request, item = not_to_propose(requests)
        refused = request[item < items] * items + item[item < items]
        parts = []
        for first, last, key, score in self._summed_up(requests):
            kept = ~_contains(key, refused - first * items)
            kept_key = key[kept]
            owner = kept_key // max(1, items)
            found = (kept_key - owner * items).astype(np.int32)
            parts.append(best(owner, found, score[kept], last - first, k))
        return stack(parts)

    def score(self, requests: Requests, candidates: Candidates) -> Float32:
        items, request = len(self._neighbours), candidates.request
        scores = np.zeros(len(candidates), np.float32)
        for first, last, key, score in self._summed_up(requests):
            rows = slice(candidates.offsets[first], candidates.offsets[last])
            item = candidates.item[rows]
            wanted = np.where((item >= 0) & (item < items), (request[rows] - first) * items + item, -1)
            place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
            if len(key):
                scores[rows] = np.where(key[place] == wanted, score[place], 0)
        return scores

    def because(self, requests: Requests, items: Int32) -> Int32:
        """The visit of a single request that speaks most for each of the distinct ``items [N]``; -1 where none does."""
        seen = visits(requests, self._weight, self._least)
        decay = np.power(self._decay, seen.steps_back, dtype=np.float64)
        seen, decay = seen.keep(decay >= LEAST_DECAY), decay[decay >= LEAST_DECAY]
        if not len(seen.item) or not len(items):
            return np.full(len(items), NO_ITEM, np.int32)
        share = self._neighbours.similarity(seen.item, items) * decay[:, None]
        return np.where(share.any(axis=0), seen.item[share.argmax(axis=0)], np.int32(NO_ITEM))

    def _sums(self, requests: Requests) -> Iterator[tuple[int, int, Int64, Float32]]:
        """(first, last, key, score) for slices of the batch: ``key`` = (request - first) * I + item, rising."""
        seen = visits(requests, self._weight, self._least)
        decay = np.power(self._decay, seen.steps_back, dtype=np.float64)
        kept = (seen.item < len(self._neighbours)) & (decay >= LEAST_DECAY)
        seen, decay = seen.keep(kept), decay[kept]
        start = self._neighbours.indptr[seen.item]
        size = self._neighbours.indptr[seen.item.astype(np.int64) + 1] - start
        pairs = np.concatenate([[0], np.cumsum(size)])[seen.offsets]
        first = 0
        while first < len(requests):
            last = max(first + 1, int(np.searchsorted(pairs, pairs[first] + PAIRS, side="right")) - 1)
            rows = slice(seen.offsets[first], seen.offsets[last])
            key, total = self._summed(seen.request[rows] - first, start[rows], size[rows], decay[rows], last - first)
            yield first, last, key, np.log1p(100 * total).astype(np.float32)
            first = last

    def _summed(self, request: Int64, start: Int64, size: Int64, decay: Float64, batch: int) -> tuple[Int64, Float64]:
        """Decayed similarities summed by (request, item); the visits' neighbours are ``start`` and ``size`` long."""
        items = len(self._neighbours)
        ahead = np.cumsum(size) - size
        row = np.repeat(start - ahead, size) + np.arange(size.sum())
        key = np.repeat(request * items, size) + self._neighbours.indices[row]
        amount = np.repeat(decay, size) * self._neighbours.data[row]
        if batch * items <= max(DENSE_CELLS, 2 * len(key)):
            cells = np.bincount(key, amount, minlength=batch * items).astype(np.float64, copy=False)
            touched: Int64 = np.flatnonzero(cells)
            return touched, cells[touched]
        order = np.argsort(key, kind="stable")
        key, amount = key[order], amount[order]
        starts = np.flatnonzero(np.diff(key, prepend=-1))
        return key[starts], np.add.reduceat(amount, starts) if len(key) else amount


def _contains(sorted_keys: Int64, refused: Int64) -> Bool:
    """Which of the keys, sorted and distinct, are refused; refused keys that are not there are ignored."""
    mask = np.zeros(len(sorted_keys), np.bool_)
    if len(sorted_keys):
        place = np.minimum(np.searchsorted(sorted_keys, refused), len(sorted_keys) - 1)
        mask[place[sorted_keys[place] == refused]] = True
    return mask
