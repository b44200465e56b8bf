"""Stable 64- and 128-bit hashes: what makes an append idempotent, and what joins an outcome to its slate.

They are written to disk, so they depend on nothing that a library may change: BLAKE2b for strings, and the
published splitmix64 finaliser (Steele et al., 2014) over integer columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from upnext.types import Int64

UInt64 = NDArray[np.uint64]

FEW = 64  # rows up to which a loop over strings is quicker than looking for the distinct ones

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_TIME_BITS, _HASH_BITS = 43, 20  # 43 bits of milliseconds reach the year 2248


def text_hash(text: str) -> int:
    """64 bits of BLAKE2b, signed, never 0."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True) or 1


def text_hashes(texts: pl.Series) -> Int64:
    """``text_hash`` of each string; 0 for null or "", ``[N]``."""
    if texts.null_count() == len(texts):
        return np.zeros(len(texts), np.int64)
    if len(texts) <= FEW:
        return np.array([text_hash(name) if name else 0 for name in texts.to_list()], np.int64)
    names = texts.unique().drop_nulls()
    names = names.filter(names != "")
    hashes = pl.Series([text_hash(name) for name in names], dtype=pl.Int64)
    return texts.replace_strict(names, hashes, default=0, return_dtype=pl.Int64).to_numpy()


def recommendation_hash(ids: pl.Series | Sequence[str | None]) -> Int64:
    """The int64 that stands for a recommendation_id in ``Events``; 0 for none, ``[N]``."""
    return text_hashes(ids if isinstance(ids, pl.Series) else pl.Series(ids, dtype=pl.String))


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
