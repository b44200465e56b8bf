"""Pairs (request, item) as one number, ``request << 32 | item``: to find them, and to take the best of each request."""

from __future__ import annotations

import numpy as np

from upnext.candidates.topk import best
from upnext.compiled import compiled
from upnext.types import Candidates, Float32, Int32, Int64


def keys_of(request: Int64, item: Int32) -> Int64:
    """One number a pair, ``[N]``; items are 0 or above."""
    return request << 32 | item


def best_of_keys(key: Int64, score: Float32, batch: int, k: int) -> Candidates:
    """The k highest scores of each request, as ``topk.best`` gives them, of distinct pairs in any order."""
    if batch == 1 and 0 < 4 * k < len(key):  # what will be dropped need not be put in order
        strong = np.flatnonzero(score >= np.partition(score, len(score) - k)[len(score) - k])
        key, score = key[strong], score[strong]
    order = np.argsort(key)
    key = key[order]
    return best(key >> 32, (key & 0xFFFFFFFF).astype(np.int32), score[order], batch, k)


GOLDEN = -7046029254386353131  # 2**64 / golden ratio, as a signed number: odd, its product wraps around


@compiled("int64(int32[::1], int64[::1], int64)")
def _slot(table: Int32, keys: Int64, wanted: int) -> int:
    """Where the table holds the key, or has the free slot for it.

    The upper half of the product depends on request and item, the lower half on the item alone: together they scatter
    the same items of many requests.
    """
    product = wanted * GOLDEN
    slot = (product ^ product >> 32) & len(table) - 1
    while table[slot] != 0 and keys[table[slot] - 1] != wanted:
        slot = slot + 1 & len(table) - 1
    return slot


@compiled("int32[::1](int64[::1])")
def _table(keys: Int64) -> Int32:
    """A hash table of distinct keys ``[N]`` by open addressing: 1 + the place of a key, 0 = free."""
    room = 16
    while room < 2 * len(keys):
        room *= 2
    table = np.zeros(room, np.int32)
    for place in range(len(keys)):
        slot = _slot(table, keys, keys[place])
        if table[slot] == 0:
            table[slot] = place + 1
    return table


@compiled("Tuple((int64[::1], float32[::1]))(int64[::1], float32[::1], int64[::1])")
def without(key: Int64, score: Float32, refused: Int64) -> tuple[Int64, Float32]:
    """The rows ``[N]`` whose key is not refused, in their order."""
    table = _table(refused)
    kept_key, kept_score = np.empty_like(key), np.empty_like(score)
    kept = 0
    for row in range(len(key)):
        if table[_slot(table, refused, key[row])] == 0:
            kept_key[kept], kept_score[kept] = key[row], score[row]
            kept += 1
    return kept_key[:kept], kept_score[:kept]


@compiled("float32[::1](int64[::1], float32[::1], int64[::1], int32[::1])")
def values_of(key: Int64, value: Float32, offsets: Int64, item: Int32) -> Float32:
    """The value of each pair: items ``[N]``, ragged over requests by ``offsets [B + 1]``; 0 for pairs without a key."""
    table = _table(key)
    found = np.zeros(len(item), np.float32)
    for request in range(len(offsets) - 1):
        for row in range(offsets[request], offsets[request + 1]):
            place = table[_slot(table, key, (request << 32) + item[row])] if item[row] >= 0 else 0
            if place > 0:
                found[row] = value[place - 1]
    return found
