"""Small catalogues for the tests of the sources."""

from __future__ import annotations

import numpy as np

from upnext.types import Catalogue, Int64


def catalogue_of(
    published_at: Int64, duration: list[float] | float = 60.0, category: list[int] | int = -1
) -> Catalogue:
    items = len(published_at)
    main = np.broadcast_to(np.asarray(category, np.int32), items)
    return Catalogue(
        published_at=published_at,
        duration=np.broadcast_to(np.asarray(duration, np.float32), items).copy(),
        author=np.full(items, -1, np.int32),
        category=np.stack([main, np.full(items, -1, np.int32)], axis=1),
        available=np.ones(items, np.bool_),
        title=[""] * items,
    )
