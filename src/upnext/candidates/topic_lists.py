"""The best items of every category and author, from one pass over the whole catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.compiled import compiled
from upnext.types import Bool, Catalogue, Float32, Int32, Int64


@dataclass(frozen=True, slots=True)
class TopicLists:
    """``items[offsets[t]:offsets[t + 1]]`` are the best of row t, in no order. Rows: categories, then authors."""

    categories: int  # rows before the first author
    rarity: Float32  # [T] inverse document frequency
    offsets: Int64  # [T + 1]
    items: Int32
    quality: Float32  # of each of items


def list_topics(catalogue: Catalogue, quality: Float32, now: int, most: int) -> TopicLists:
    """Up to ``most`` items a topic that are available and published at ``now``, by ``quality [I]``, ties by code."""
    categories = int(catalogue.category.max(initial=-1)) + 1
    size = np.zeros(categories + int(catalogue.author.max(initial=-1)) + 1, np.int64)
    columns = catalogue.category, catalogue.author, catalogue.available, catalogue.published_at
    _count(*columns, now, categories, size)
    offsets = np.concatenate([[0], np.cumsum(np.minimum(size, most))]).astype(np.int64)
    items = _best_items(*columns, now, categories, quality, offsets, size)
    rarity = np.log1p(len(catalogue) / np.maximum(size, 1)).astype(np.float32)
    return TopicLists(categories, rarity, offsets, items, quality[items])


@compiled("boolean(int64, int64, float32[::1])")
def _worse(one: int, other: int, quality: Float32) -> bool:
    return quality[one] < quality[other] or (quality[one] == quality[other] and one > other)


@compiled("void(int32[::1], int64, int64, float32[::1])")
def _rise(heap: Int32, place: int, item: int, quality: Float32) -> None:
    """Put an item into the free last place, and up to where it belongs."""
    while place > 0 and _worse(item, heap[(place - 1) // 2], quality):
        heap[place] = heap[(place - 1) // 2]
        place = (place - 1) // 2
    heap[place] = item


@compiled("void(int32[::1], int64, float32[::1])")
def _sink(heap: Int32, item: int, quality: Float32) -> None:
    """Put an item into the first place of a full heap, whose item goes, and down to where it belongs."""
    place = 0
    while 2 * place + 1 < len(heap):
        child = 2 * place + 1
        if child + 1 < len(heap) and _worse(heap[child + 1], heap[child], quality):
            child += 1
        if not _worse(heap[child], item, quality):
            break
        heap[place] = heap[child]
        place = child
    heap[place] = item


@compiled("void(int32[:, ::1], int32[::1], boolean[::1], int64[::1], int64, int64, int64[::1])")
def _count(
    category: Int32, author: Int32, available: Bool, published_at: Int64, now: int, categories: int, size: Int64
) -> None:
    """Add to ``size [T]`` the items of every topic that may be shown."""
    for item in range(len(author)):
        if available[item] and published_at[item] <= now:
            for column in range(category.shape[1]):
                if category[item, column] >= 0:
                    size[category[item, column]] += 1
            if author[item] >= 0:
                size[categories + author[item]] += 1


@compiled(
    "int32[::1](int32[:, ::1], int32[::1], boolean[::1], int64[::1], int64, int64, float32[::1], int64[::1],int64[::1])"
)
def _best_items(
    category: Int32,
    author: Int32,
    available: Bool,
    published_at: Int64,
    now: int,
    categories: int,
    quality: Float32,
    offsets: Int64,
    size: Int64,
) -> Int32:
    """The items of highest quality of each topic, of equal ones the lowest: as many as ``offsets`` has room for.

    One pass over the catalogue: every topic keeps a heap whose first entry is the next to go; one that has room for
    all its ``size`` items, as most authors have, is just filled.
    """
    items = np.empty(offsets[-1], np.int32)
    filled = np.zeros(len(offsets) - 1, np.int64)
    for item in range(len(author)):
        if not available[item] or published_at[item] > now:
            continue
        for column in range(category.shape[1] + 1):
            if column < category.shape[1]:
                row = np.int64(category[item, column])
            else:
                row = np.int64(author[item]) + categories if author[item] >= 0 else np.int64(-1)
            if row >= 0:
                heap = items[offsets[row] : offsets[row + 1]]
                if len(heap) == size[row]:
                    heap[filled[row]] = item
                    filled[row] += 1
                elif filled[row] < len(heap):
                    _rise(heap, filled[row], item, quality)
                    filled[row] += 1
                elif quality[item] > quality[heap[0]]:
                    _sink(heap, item, quality)
    return items
