"""One candidate list out of many: the union of items, a score column a source."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from upnext.types import Candidates, Column, Float64, Int64


def merge(proposals: Mapping[str, Candidates], quotas: Mapping[str, int], total: int) -> Candidates:
    """Union per request with float32 columns ``score_<source>``, NaN where that source did not propose the item.

    Rows are ordered by their best rank / quota over the sources (then by the sources' order, then by item), and cut
    at ``total`` a request: so every source loses the same share of its quota.
    """
    if not proposals:
        raise ValueError("merge needs the proposals of at least one source")
    parts = list(proposals.values())
    batch = parts[0].batch
    request = np.concatenate([part.request for part in parts])
    key, row = np.unique(
        request << 32 | np.concatenate([part.item for part in parts]).astype(np.int64), return_inverse=True
    )
    share = np.full((len(key), len(parts)), np.inf)
    score = np.full((len(parts), len(key)), np.nan, np.float32)
    ahead = 0
    for source, (name, part) in enumerate(proposals.items()):
        mine = row[ahead : ahead + len(part)]
        ahead += len(part)
        rank = np.arange(1, len(part) + 1) - part.offsets[part.request]
        share[mine, source] = rank / max(1, quotas[name])
        score[source, mine] = part["score"]
    return _ordered(key, share, {f"score_{name}": score[n] for n, name in enumerate(proposals)}, batch, total)


def _ordered(
    key: Int64,
    share: Float64,
    columns: Mapping[str, Column],
    batch: int,
    total: int,
) -> Candidates:
    request = key >> 32
    order = np.lexsort((share.argmin(axis=1), share.min(axis=1), request))  # stable: ties stay in item order
    sizes = np.bincount(request, minlength=batch)
    starts = np.cumsum(sizes) - sizes
    order = order[np.arange(len(order)) - np.repeat(starts, sizes) < total]
    offsets = np.concatenate([[0], np.cumsum(np.minimum(sizes, total))]).astype(np.int64)
    item = (key & 0xFFFFFFFF).astype(np.int32)
    return Candidates(item, np.array([0, len(item)], np.int64), columns).take(order, offsets)
