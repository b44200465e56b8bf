"""One candidate list out of many: the union of items, a score column a source."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from upnext.compiled import compiled
from upnext.types import Candidates

FREE = -1
SCATTER = 0x9E3779B1  # 2**32 / golden ratio: neighbouring item codes land far apart (Knuth, vol. 3, 6.4)


def merge(proposals: Mapping[str, Candidates], quotas: Mapping[str, int], total: int) -> Candidates:
    """Union per request with float32 columns ``score_<source>``, NaN where that source did not propose the item.

    Rows are ordered by their best rank / quota over the sources (then by the sources' order), and cut at ``total``
    a request: so every source loses the same share of its quota. A source names an item once a request.
    """
    if not proposals:
        raise ValueError("merge needs the proposals of at least one source")
    parts = list(proposals.values())
    item, offsets, score = _merged(
        np.concatenate([part.item for part in parts]),
        np.concatenate([part["score"] for part in parts]).astype(np.float32, copy=False),
        np.array([part.offsets for part in parts]),
        np.array([max(1, quotas[name]) for name in proposals]),
        total,
    )
    columns = {f"score_{name}": score[source, : len(item)] for source, name in enumerate(proposals)}
    return Candidates(item, offsets, MappingProxyType(columns))


@compiled(
    "Tuple((int32[::1], int64[::1], float32[:, ::1]))(int32[::1], float32[::1], int64[:, ::1], int64[::1], int64)"
)
def _merged(item: Any, score: Any, offsets: Any, quota: Any, total: int) -> Any:
    """Items ``[M]``, offsets ``[B + 1]`` and scores ``[S, at least M]`` of the union.

    ``item`` and ``score`` are the rows of source 0, then those of source 1, and so on; ``offsets [S, B + 1]``.
    The lists are read together, next the row with the least rank / quota: so each item is met at its best first,
    and the union comes out in order. A hash table, cleared a request, knows where an item stands.
    """
    sources, batch = offsets.shape[0], offsets.shape[1] - 1
    ahead, ranks = np.zeros(sources, np.int64), np.zeros(sources, np.int64)  # rows of the sources before; rows read
    for source in range(1, sources):
        ahead[source] = ahead[source - 1] + offsets[source - 1, batch]
    longest, most = 0, 0
    for request in range(batch):
        rows = 0
        for source in range(sources):
            rows += offsets[source, request + 1] - offsets[source, request]
        longest, most = max(longest, rows), most + min(rows, total)
    places = 8
    while places < 2 * longest:
        places *= 2
    table = np.empty(places, np.int64)
    union, ends = np.empty(longest, np.int32), np.zeros(batch + 1, np.int64)
    merged, scores = np.empty(most, np.int32), np.full((sources, most), np.nan, np.float32)
    end = 0
    for request in range(batch):
        table[:] = FREE
        ranks[:] = 0
        known = 0
        while True:
            source, share = -1, np.inf
            for other in range(sources):
                unread = ranks[other] < offsets[other, request + 1] - offsets[other, request]
                if unread and (ranks[other] + 1) / quota[other] < share:
                    source, share = other, (ranks[other] + 1) / quota[other]
            if source < 0:
                break
            row = ahead[source] + offsets[source, request] + ranks[source]
            ranks[source] += 1
            place = int(item[row]) * SCATTER >> 16 & places - 1
            while table[place] != FREE and union[table[place]] != item[row]:
                place = (place + 1) & (places - 1)
            if table[place] == FREE:
                table[place] = known
                union[known] = item[row]
                known += 1
            if table[place] < total:
                scores[source, end + table[place]] = score[row]
        for place in range(min(known, total)):
            merged[end + place] = union[place]
        end += min(known, total)
        ends[request + 1] = end
    return merged[:end].copy(), ends, scores
