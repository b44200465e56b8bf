"""The best k of each request, as candidates: descending scores, ties by item code, whatever the batch size."""

from __future__ import annotations

from typing import Any

import numpy as np

from upnext.compiled import compiled
from upnext.types import Candidates, Float32, Int32, Int64

COARSE = 20  # bits of the order of scores that the buckets leave out: 4,096 buckets, eight an octave


def best(request: Int64, item: Int32, score: Float32, batch: int, k: int) -> Candidates:
    """The k highest scores of each request. Rows come ordered by request, then item; scores are finite."""
    score = np.ascontiguousarray(score, np.float32)
    ends = np.array([0, len(request)]) if batch == 1 else np.searchsorted(request, np.arange(batch + 1))
    rows, offsets = _best_rows(score, ends.astype(np.int64, copy=False), k, -np.inf)
    return Candidates(item[rows].astype(np.int32, copy=False), offsets, {"score": score[rows]})


def best_of_matrix(scores: Float32, k: int) -> Candidates:
    """The k highest positive scores of each row of a dense ``[B, I]`` matrix, column = item code."""
    batch, items = scores.shape
    flat = np.ascontiguousarray(scores, np.float32).ravel()
    rows, offsets = _best_rows(flat, items * np.arange(batch + 1), k, 0.0)
    item = rows if batch == 1 else rows % max(items, 1)
    return Candidates(item.astype(np.int32), offsets, {"score": flat[rows]})


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


@compiled("Tuple((int64[::1], int64[::1]))(float32[::1], int64[::1], int64, float64)")
def _best_rows(score: Any, ends: Any, k: int, above: float) -> Any:
    """Rows of the k highest scores over ``above`` of each segment ``ends[b]:ends[b + 1]``, best first, and offsets.

    A histogram over the scores' order finds about the k best in two passes; only these are sorted, by radix,
    which leaves ties in the order of their rows.
    """
    order = score.view(np.uint32)
    segments, longest = len(ends) - 1, 0
    most = 0
    for segment in range(segments):
        longest = max(longest, ends[segment + 1] - ends[segment])
        most += min(k, ends[segment + 1] - ends[segment])
    rows, offsets = np.empty(most, np.int64), np.zeros(segments + 1, np.int64)
    falling, candidate = np.empty(longest, np.uint32), np.empty(longest, np.int64)
    spare_falling, spare_candidate = np.empty(longest, np.uint32), np.empty(longest, np.int64)
    filled = np.zeros(1 << (32 - COARSE), np.int32)
    digits = np.zeros(256, np.int64)
    written = 0
    for segment in range(segments):
        start, stop = ends[segment], ends[segment + 1]
        count = 0
        for row in range(start, stop):
            bits = order[row]
            falling[count] = bits if bits >> 31 else ~bits & np.uint32(0x7FFFFFFF)  # IEEE 754 order, reversed
            candidate[count] = row
            count += score[row] > above  # no branch, which would be mispredicted half of the time
        if count > k:
            filled[:] = 0
            for place in range(count):
                filled[falling[place] >> COARSE] += 1
            bucket, seen = 0, filled[0]
            while seen < k:
                bucket += 1
                seen += filled[bucket]
            kept = 0
            for place in range(count):
                falling[kept], candidate[kept] = falling[place], candidate[place]
                kept += falling[kept] >> COARSE <= bucket
            count = kept
        for shift in range(0, 32, 8):
            digits[:] = 0
            for place in range(count):
                digits[(falling[place] >> shift) & 255] += 1
            ahead = 0
            for digit in range(256):
                ahead, digits[digit] = ahead + digits[digit], ahead
            for place in range(count):
                digit = (falling[place] >> shift) & 255
                spare_falling[digits[digit]], spare_candidate[digits[digit]] = falling[place], candidate[place]
                digits[digit] += 1
            falling, spare_falling = spare_falling, falling
            candidate, spare_candidate = spare_candidate, candidate
        for place in range(min(k, count)):
            rows[written] = candidate[place]
            written += 1
        offsets[segment + 1] = written
    return rows[:written].copy(), offsets
