"""Small random logs and catalogues for tests of the state."""

from __future__ import annotations

import numpy as np
import polars as pl

from upnext.config import Config
from upnext.features.catalogue import LiveCatalogue
from upnext.features.roles import EventRoles
from upnext.types import Events

TYPES = ["impression", "click", "watch", "like", "seen", "hide"]
START = 1_700_000_000_000
USERS, ITEMS = 6, 12


def roles(config: Config | None = None) -> EventRoles:
    config = config or Config()
    found = EventRoles(config.events.types, config.ranking.tasks)
    found.learn(TYPES)
    return found


def catalogue(items: int = ITEMS) -> LiveCatalogue:
    live = LiveCatalogue()
    live.apply(
        pl.DataFrame(
            {
                "code": range(items),
                "item_id": [f"i{n}" for n in range(items)],
                "title": [f"title {n}" for n in range(items)],
                "author": [f"a{n % 4}" if n % 5 else None for n in range(items)],
                "categories": [[f"c{n % 3}", f"c{n % 2}"] if n % 7 else None for n in range(items)],
                "duration": [60.0 + n if n % 6 else None for n in range(items)],
                "published_at": [START - n * 3_600_000 if n % 4 else None for n in range(items)],
                "available": [True] * items,
                "vector": pl.Series([None] * items, dtype=pl.List(pl.Float32)),
                "attributes": ["{}"] * items,
                "deleted": [False] * items,
                "revision": [1] * items,
            }
        )
    )
    return live


def random_events(seed: int, size: int, span_ms: int = 600_000) -> Events:
    """A log in the order received; some events share a millisecond, some are anonymous."""
    random = np.random.default_rng(seed)
    at = START + np.sort(random.integers(0, span_ms, size)) // 500 * 500
    kind = random.integers(0, len(TYPES), size).astype(np.int16)
    value = np.where(kind == 2, random.uniform(0, 60, size), np.nan).astype(np.float32)
    return Events(
        np.arange(size),
        kind,
        random.integers(-1, USERS, size).astype(np.int32),
        random.integers(0, ITEMS, size).astype(np.int32),
        at,
        at,
        value,
        np.full(size, -1, np.int16),
        np.zeros(size, np.int16),
        np.zeros(size, np.int64),
        np.full(size, -1, np.int64),
    )
