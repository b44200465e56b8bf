"""An item as callers see it: what the catalogue knows of it, by its external id."""

from __future__ import annotations

from typing import Any

from upnext.live import Live
from upnext.xray import number


def describe(live: Live, code: int) -> dict[str, Any]:
    """What the catalogue knows of the item with this code; null = unknown."""
    catalogue, names = live.catalogue(), live.catalogue
    author = int(catalogue.author[code])
    return {
        "item_id": names.ids.names[code],
        "title": catalogue.title[code] or None,
        "author": names.authors.names[author] if author >= 0 else None,
        "categories": [names.categories.names[c] for c in catalogue.category[code].tolist() if c >= 0],
        "duration": number(float(catalogue.duration[code])),
        "published_at": int(catalogue.published_at[code]) or None,
        "available": bool(catalogue.available[code]),
    }
