"""Because you watched: what others turned to beside and after the items of this history, the latest counting most.

Item-kNN with shrinkage (Sarwar et al., WWW 2001; Bell and Koren, ICDM 2007) blended with directed co-visits. How
much the latest counts, and how far similarities are shrunk, was found out in training, from the log.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from upnext.candidates.history import not_to_propose, visits
from upnext.candidates.keys import best_of_keys, keys_of, values_of, without
from upnext.candidates.remembered import Remembered
from upnext.candidates.topk import none
from upnext.compiled import compiled
from upnext.errors import ArtifactError
from upnext.types import NO_ITEM, Candidates, Float32, Float64, Int32, Int64, Requests

LEAST_DECAY = 0.01  # older visits than that cannot change the order any more
ARRAYS = ("indptr", "indices", "data")
READING_FILE = "co_visitation.json"


@dataclass(frozen=True, slots=True)
class Reading:
    """How much the order of a history says, and how much a few people do."""

    history_decay: float  # weight of each older visit against the next newer one; 1 = all alike
    window: int  # how many steps ahead neighbours were looked for; 0 = only beside each other, whatever the order
    shrinkage: float = 20.0  # of similarities: added to how many people know the two items

    @property
    def in_order(self) -> bool:
        """Whether the order says anything."""
        return self.history_decay < 1 or self.window > 0


IN_ORDER = Reading(0.8, 5)  # where the log does not tell; also of models that were made before it was asked


@dataclass(frozen=True, slots=True)
class CoVisitation:
    """Neighbours of item i: ``indices[indptr[i]:indptr[i + 1]]``, with ``data`` > 0 as their similarities."""

    indptr: Int64  # [I + 1]
    indices: Int32
    data: Float32
    reading: Reading = IN_ORDER

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
        (directory / READING_FILE).write_text(json.dumps(asdict(self.reading)), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> CoVisitation:
        """Raises ArtifactError when a file is missing or damaged."""
        try:
            arrays = [np.load(directory / f"co_visitation_{name}.npy", allow_pickle=False) for name in ARRAYS]
            file, reading = directory / READING_FILE, IN_ORDER
            if file.exists():
                said = json.loads(file.read_text(encoding="utf-8"))
                decay, window = float(said["history_decay"]), int(said["window"])
                reading = Reading(decay, window, float(said.get("shrinkage", IN_ORDER.shrinkage)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{directory}: no readable co-visitation ({error}). Run `upnext train`.") from error
        indptr, indices, data = arrays
        if not (len(indptr) and indptr[-1] == len(indices) == len(data)):
            raise ArtifactError(f"{directory}: the co-visitation files do not belong together. Run `upnext train`.")
        return cls(indptr, indices, data, reading)


class BecauseYouWatched:
    """Source and PairScorer. A score is log(1 + similarity in percent), summed over the decayed history."""

    name = "because_you_watched"

    def __init__(self, neighbours: CoVisitation, weight: Float32, least: Float32) -> None:
        """``weight`` and ``least`` by event type code, as ``event_weights`` makes them."""
        self._neighbours = CoVisitation(
            np.require(neighbours.indptr, np.int64, ["C", "W"]),
            np.require(neighbours.indices, np.int32, ["C", "W"]),
            np.require(neighbours.data, np.float32, ["C", "W"]),
            neighbours.reading,
        )
        self._decay = neighbours.reading.history_decay
        self._weight, self._least = weight, least
        self._summed_up = Remembered(self._sums)

    def __call__(self, requests: Requests, k: int) -> Candidates:
        batch = len(requests)
        if k == 0 or batch == 0:
            return none(batch)
        key, score = self._summed_up(requests)
        request, item = not_to_propose(requests)
        key, score = without(key, score, keys_of(request, item))
        return best_of_keys(key, score, batch, k)

    def score(self, requests: Requests, candidates: Candidates) -> Float32:
        return values_of(*self._summed_up(requests), candidates.offsets, candidates.item)

    def because(self, requests: Requests, items: Int32) -> Int32:
        """The visit of a single request that speaks most for each of the distinct ``items [N]``; -1 where none does."""
        seen = visits(requests, self._weight, self._least)
        decay = np.power(self._decay, seen.steps_back, dtype=np.float64)
        seen, decay = seen.keep(decay >= LEAST_DECAY), decay[decay >= LEAST_DECAY]
        if not len(seen.item) or not len(items):
            return np.full(len(items), NO_ITEM, np.int32)
        share = self._neighbours.similarity(seen.item, items) * decay[:, None]
        return np.where(share.any(axis=0), seen.item[share.argmax(axis=0)], np.int32(NO_ITEM))

    def _sums(self, requests: Requests) -> tuple[Int64, Float32]:
        """(key, score) of every item that the visits of a request speak for, in the order in which they name it."""
        seen, known = visits(requests, self._weight, self._least), self._neighbours
        key, total = summed(seen.offsets, seen.item, self._decay, known.indptr, known.indices, known.data)
        return key, np.log1p(100 * total).astype(np.float32)


@compiled("Tuple((int64[::1], float64[::1]))(int64[::1], int32[::1], float64, int64[::1], int32[::1], float32[::1])")
def summed(
    offsets: Int64, visit: Int32, history_decay: float, indptr: Int64, indices: Int32, data: Float32
) -> tuple[Int64, Float64]:
    """Similarities to the visits of each request, decayed and summed: (request << 32 | item, sum), both ``[N]``.

    The items visited, ``visit [V]``, are ragged by ``offsets [B + 1]``. A request's items come in the order in which
    its visits, oldest first, name them, so a batch adds the same numbers in the same order as one request alone.
    """
    items = len(indptr) - 1
    rows = most = 0  # of all requests, of the largest one
    for request in range(len(offsets) - 1):
        pairs = 0
        for row in range(offsets[request], offsets[request + 1]):
            if visit[row] < items:
                pairs += indptr[visit[row] + 1] - indptr[visit[row]]
        rows += min(pairs, items)
        most = max(most, min(pairs, items))
    room = 16
    while room < 2 * most:
        room *= 2
    table = np.zeros(room, np.int32)  # 1 + the row of an item, counted from the request's first; 0 = free
    key, total = np.empty(rows, np.int64), np.empty(rows, np.float64)
    filled = 0
    for request in range(len(offsets) - 1):
        first = filled
        for row in range(offsets[request], offsets[request + 1]):
            decay = history_decay ** np.float64(offsets[request + 1] - 1 - row)
            if visit[row] >= items or decay < LEAST_DECAY:
                continue
            for neighbour in range(indptr[visit[row]], indptr[visit[row] + 1]):
                wanted = request << 32 | np.int64(indices[neighbour])
                slot = np.int64(indices[neighbour]) * 2654435769 >> 7 & room - 1
                while table[slot] != 0 and key[first + table[slot] - 1] != wanted:
                    slot = slot + 1 & room - 1
                if table[slot] == 0:
                    table[slot] = filled - first + 1
                    key[filled], total[filled] = wanted, 0.0
                    filled += 1
                total[first + table[slot] - 1] += decay * data[neighbour]
        if request < len(offsets) - 2:
            table[:] = 0
    return key[:filled].copy(), total[:filled].copy()
