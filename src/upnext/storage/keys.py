"""Stable 64- and 128-bit hashes: what makes an append idempotent, and what joins an outcome to its slate.

They are written to disk, so they depend on nothing that a library may change: BLAKE2b for strings, and the
published splitmix64 finaliser (Steele et al., 2014) over integer columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from upnext.types import Int64

UInt64 = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_TIME_BITS, _HASH_BITS = 43, 20  # 43 bits of milliseconds reach the year 2248


def text_hash(text: str) -> int:
    """64 bits of BLAKE2b, signed, never 0."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True) or 1


def text_hashes(texts: Sequence[str | None]) -> Int64:
    """``text_hash`` of each string; 0 for null or "", ``[N]``."""
    hashes = {text: text_hash(text) if text else 0 for text in set(texts)}
    return np.fromiter(map(hashes.__getitem__, texts), np.int64, len(texts))


def recommendation_hash(ids: Sequence[str | None]) -> Int64:
    """The int64 that stands for a recommendation_id in ``Events``; 0 for none, ``[N]``."""
    return text_hashes(ids)


def given_keys(event_ids: Sequence[str]) -> tuple[list[int], list[int]]:
    """128 bits of BLAKE2b of each event_id, as two signed 64-bit halves."""
    high, low = [], []
    for id_ in event_ids:
        digest = blake2b(id_.encode(), digest_size=16, person=b"event_id").digest()
        high.append(int.from_bytes(digest[:8], "little", signed=True))
        low.append(int.from_bytes(digest[8:], "little", signed=True))
    return high, low


def content_keys(happened_at: Int64, columns: Sequence[Int64]) -> tuple[Int64, Int64]:
    """128 bits of each row's content, ``[N]`` each: equal rows, equal keys.

    The time leads, so that the keys of events in time order go to the end of an index and not all over it.
    """
    everything = [happened_at, *columns]
    low = _mix(everything, 1)
    rest = _mix(everything, 2) >> np.uint64(64 - _HASH_BITS)
    time = happened_at.view(np.uint64) & np.uint64((1 << _TIME_BITS) - 1)
    return ((time << np.uint64(_HASH_BITS)) | rest).view(np.int64), low.view(np.int64)


def _mix(columns: Sequence[Int64], seed: int) -> UInt64:
    state = np.full(len(columns[0]), seed, np.uint64)
    for column in columns:
        state = (state ^ np.ascontiguousarray(column).view(np.uint64)) + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _MIX1
        state = (state ^ (state >> np.uint64(27))) * _MIX2
        state ^= state >> np.uint64(31)
    return state
