"""The canonical columns of events, items and users, and the names under which other systems know them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import polars as pl

from upnext.storage.log import (
    EVENT_SCHEMA,
    ITEM_SCHEMA,
    REQUIRED_EVENT,
    REQUIRED_ITEM,
    REQUIRED_USER,
    USER_SCHEMA,
)

Kind = Literal["items", "users", "events"]
KINDS: tuple[Kind, ...] = ("items", "users", "events")

LINE = "_line"  # the row's line in its file (in Parquet its number), from 1; travels beside the canonical columns
ITEMS = "items"  # of an impression: the ids shown, from the top; one event becomes one a shown item

SCHEMAS: Mapping[Kind, Mapping[str, pl.DataType]] = {
    "items": ITEM_SCHEMA,
    "users": USER_SCHEMA,
    "events": EVENT_SCHEMA,
}
REQUIRED: Mapping[Kind, tuple[str, ...]] = {
    "items": REQUIRED_ITEM,
    "users": REQUIRED_USER,
    "events": REQUIRED_EVENT,
}
REJECT_SCHEMA: Mapping[str, pl.DataType] = {
    "file": pl.String(),
    "line": pl.Int64(),
    "column": pl.String(),
    "value": pl.String(),
    "reason": pl.String(),
}

# Other names of a column, best first, in the plain form of ``plain``: those of Gorse, Metarank and Amazon Personalize
# and what people commonly write. A column's own name always comes before these.
OTHER_NAMES: Mapping[Kind, Mapping[str, tuple[str, ...]]] = {
    "events": {
        "event_id": ("feedbackid", "uuid"),
        "event_type": ("feedbacktype", "type", "event", "action"),
        "user_id": ("user", "uid", "visitorid", "customerid"),
        "item_id": ("item", "iid", "productid", "contentid"),
        "happened_at": ("timestamp", "time", "ts", "eventtime", "datetime", "date", "createdat"),
        "received_at": ("receivetime",),
        "value": ("eventvalue", "rating", "score"),
        "session_id": ("session",),
        "recommendation_id": ("impressionid", "rankingid", "ranking", "slateid"),
        "position": ("rank",),
        "surface": ("page", "placement", "widget"),
        "context": (),
        "as_of": (),
        ITEMS: ("impression", "impressions", "shown"),
    },
    "items": {
        "item_id": ("id", "item", "iid", "productid", "contentid"),
        "title": ("name", "itemname", "comment"),
        "author": ("authorid", "artist", "creator", "publisher", "seller", "brand"),
        "categories": ("category", "genres", "genre", "tags", "labels"),
        "duration": ("length", "durationseconds"),
        "published_at": ("creationtimestamp", "timestamp", "createdat", "publishedat", "releasedate"),
        "available": ("isavailable",),
        "vector": ("embedding", "contentvector"),
        "attributes": ("metadata",),
    },
    "users": {
        "user_id": ("id", "user", "uid", "customerid"),
        "attributes": ("metadata",),
        "blocked_authors": (),
    },
}


def plain(name: str) -> str:
    """``USER_ID``, ``UserId`` and ``user id`` are one name: small letters and digits only."""
    return re.sub(r"[\W_]+", "", name).lower()


def recognise(kind: Kind, columns: Iterable[str]) -> dict[str, str]:
    """Canonical name -> the column that holds it, for the columns whose name says so."""
    by_plain: dict[str, str] = {}
    for column in columns:
        by_plain.setdefault(plain(column), column)
    found: dict[str, str] = {}
    for name, others in OTHER_NAMES[kind].items():
        for candidate in (plain(name), *others):
            if candidate in by_plain and by_plain[candidate] not in found.values():
                found[name] = by_plain[candidate]
                break
    return found


def kind_of(columns: Sequence[str]) -> Kind | None:
    """What the rows of a file are, judged by its columns; None when they fit nothing."""
    event = recognise("events", columns)
    if "user_id" in event and ("item_id" in event or ITEMS in event):
        return "events"
    if plain("item_id") in map(plain, columns):
        return "items"
    if plain("user_id") in map(plain, columns):
        return "users"
    return None


def nearest(word: str, names: Iterable[str]) -> str:
    """`; did you mean 'click'?`, or the list of what is known."""
    known = list(names)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
