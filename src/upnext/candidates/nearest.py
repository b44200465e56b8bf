"""What the sources that compare a user's vector with items' vectors share: nearest items, and scores of pairs."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from upnext.compiled import compiled
from upnext.types import NO_ITEM, Candidates, Float32, Int32, Int64


class Searched(Protocol):
    """An index, or a space with one: the best k items of each query, as ItemIndex.search gives them."""

    def search(self, queries: Float32, k: int) -> tuple[Int32, Float32]: ...


LANES = 16  # products that are summed side by side, as a processor's vector units do it


def nearest(
    index: Searched, queries: Float32, unwanted: tuple[Int64, Int32], k: int, above: float = -np.inf
) -> Candidates:
    """The k items nearest to each of ``queries [B, d]``, of scores over ``above``, without the ``unwanted`` pairs.

    ``unwanted`` are requests and items, in any order. A query of zeros has no neighbours.
    """
    request, item = unwanted
    spare = int(np.bincount(request).max()) if len(request) else 0
    found, scores = index.search(queries, k + spare)
    refused = np.sort(request << 32 | item)
    item, score, offsets = _first_wanted(found, scores, refused, queries.any(axis=1), k, above)
    return Candidates(item, offsets, {"score": score})


def pair_scores(users: Float32, vectors: Float32, place: Int32, offsets: Int64) -> Float32:
    """``[N]``: inner products of ``users [B, d]``, of whom each has the rows between its ``offsets``, and ``vectors``.

    ``vectors[place[n]]`` is that of row n; where its place is outside of the matrix, the product is 0.
    """
    return _pair_scores(users, vectors, place, offsets)


@compiled(
    "Tuple((int32[::1], float32[::1], int64[::1]))(int32[:, ::1], float32[:, ::1], int64[::1], boolean[::1], int64,"
    "float64)"
)
def _first_wanted(found: Any, scores: Any, refused: Any, asked: Any, k: int, above: float) -> Any:
    """Items, scores and offsets: of each row of ``found [B, W]``, best first, the first k that are not ``refused``.

    ``refused`` are sorted numbers, request << 32 | item.
    """
    batch, width = found.shape
    item, score = np.empty(batch * min(k, width), np.int32), np.empty(batch * min(k, width), np.float32)
    offsets = np.zeros(batch + 1, np.int64)
    end = 0
    for request in range(batch):
        most = end + min(k, width) if asked[request] else end
        for place in range(width):
            if end == most:
                break
            if found[request, place] == NO_ITEM or not scores[request, place] > above:
                continue
            key = request << 32 | found[request, place]
            low, high = 0, len(refused)
            while low < high:
                middle = (low + high) // 2
                if refused[middle] < key:
                    low = middle + 1
                else:
                    high = middle
            if low == len(refused) or refused[low] != key:
                item[end], score[end] = found[request, place], scores[request, place]
                end += 1
        offsets[request + 1] = end
    return item[:end].copy(), score[:end].copy(), offsets


@compiled(
    "float32[::1](Array(float32, 2, 'C', readonly=True), Array(float32, 2, 'C', readonly=True),"
    "Array(int32, 1, 'A', readonly=True), Array(int64, 1, 'A', readonly=True))"
)
def _pair_scores(users: Any, vectors: Any, place: Any, offsets: Any) -> Any:
    """``[N]``, of ``users [B, d]``, ``vectors [V, d]``, and ragged places in them."""
    size = users.shape[1]
    whole = size - size % LANES
    scores = np.zeros(len(place), np.float32)
    lanes = np.empty(LANES, np.float32)
    for request in range(len(offsets) - 1):
        user = users[request]
        for row in range(offsets[request], offsets[request + 1]):
            if not 0 <= place[row] < len(vectors):
                continue
            vector = vectors[place[row]]
            lanes[:] = 0
            for start in range(0, whole, LANES):
                for lane in range(LANES):
                    lanes[lane] += user[start + lane] * vector[start + lane]
            for rest in range(whole, size):
                lanes[rest - whole] += user[rest] * vector[rest]
            total = np.float32(0)
            for lane in range(LANES):
                total += lanes[lane]
            scores[row] = total
    return scores
