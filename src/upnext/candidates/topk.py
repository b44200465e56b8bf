"""The best k of each request, as candidates: descending scores, ties by item code, whatever the batch size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upnext.types import Candidates, Float32, Int32, Int64


def best(request: Int64, item: Int32, score: Float32, batch: int, k: int) -> Candidates:
    """The k highest scores of each request. Rows come ordered by request, then item; scores are finite."""
    if batch == 1 and 0 < 4 * k < len(item):  # partitioning is cheaper than sorting what will be dropped
        strong = score >= np.partition(score, len(score) - k)[len(score) - k]
        request, item, score = request[strong], item[strong], score[strong]
    order = np.argsort(_descending(request, score), kind="stable")  # so ties stay in item order
    sizes = np.bincount(request, minlength=batch)
    starts = np.cumsum(sizes) - sizes
    order = order[np.arange(len(order)) - np.repeat(starts, sizes) < k]
    offsets = np.concatenate([[0], np.cumsum(np.minimum(sizes, k))]).astype(np.int64)
    return Candidates(item[order].astype(np.int32), offsets, {"score": score[order].astype(np.float32)})


def best_of_matrix(scores: Float32, k: int) -> Candidates:
    """The k highest positive scores of each row of a dense ``[B, I]`` matrix, column = item code."""
    batch, items = scores.shape
    if k == 0 or items == 0:
        return none(batch)
    first = items - min(k, items)
    item = np.sort(np.argpartition(scores, first, axis=1)[:, first:], axis=1)
    score = np.take_along_axis(scores, item, axis=1)
    request, column = np.nonzero(score > 0)
    return best(request, item[request, column].astype(np.int32), score[request, column], batch, k)


def none(batch: int) -> Candidates:
    """No proposal for anybody."""
    return Candidates(np.empty(0, np.int32), np.zeros(batch + 1, np.int64), {"score": np.empty(0, np.float32)})


def stack(parts: list[Candidates]) -> Candidates:
    """The requests of several scored batches, at least one, as one batch."""
    if len(parts) == 1:
        return parts[0]
    sizes = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    score = np.concatenate([part["score"] for part in parts])
    return Candidates(np.concatenate([part.item for part in parts]), offsets, {"score": score})


def _descending(request: Int64, score: Float32) -> NDArray[np.uint64]:
    """One integer a row that sorts by request, then by falling score: ten times faster than a lexsort."""
    bits = score.astype(np.float32).view(np.uint32)
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))  # IEEE 754 order as integers
    return (request.astype(np.uint64) << np.uint64(32)) | (~rising).astype(np.uint64)
