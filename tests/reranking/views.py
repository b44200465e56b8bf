"""A small catalogue and requests for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from upnext.testing.reranker_contract import ITEMS, requests
from upnext.types import Candidates, Catalogue, Int64, Ragged, Requests
from upnext.vectors import Vectors

NOW = 1_700_000_000_000
DAY = 86_400_000


def catalogue(items: int = ITEMS, seed: int = 0) -> Catalogue:
    rng = np.random.default_rng(seed)
    return Catalogue(
        published_at=NOW - rng.integers(0, 30 * DAY, items),
        duration=np.full(items, np.nan, np.float32),
        author=rng.integers(-1, 20, items).astype(np.int32),
        category=rng.integers(-1, 12, (items, 3)).astype(np.int32),
        available=np.ones(items, np.bool_),
        title=[""] * items,
    )


def plain_catalogue(items: int) -> Catalogue:
    """Nothing is known of any item."""
    return Catalogue(
        published_at=np.zeros(items, np.int64),
        duration=np.full(items, np.nan, np.float32),
        author=np.full(items, -1, np.int32),
        category=np.full((items, 2), -1, np.int32),
        available=np.ones(items, np.bool_),
        title=[""] * items,
    )


def vectors(items: int = ITEMS, seed: int = 0) -> Vectors:
    return Vectors(np.random.default_rng(seed).normal(size=(items, 8)).astype(np.float32))


def table(lists: Sequence[Sequence[int]], **columns: Sequence[float]) -> Candidates:
    ragged = Ragged.of(lists)
    return Candidates(
        ragged.item,
        ragged.offsets,
        {name: np.asarray(column, np.float32) for name, column in columns.items()},
    )


def at(batch: int, k: int, now: Int64) -> Requests:
    return replace(requests(batch, k), now=now)
