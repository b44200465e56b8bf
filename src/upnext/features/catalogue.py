"""The catalogue and the users as live columns: views that tail the log's upserts and deletions.

A change is visible as soon as ``apply`` returns. Arrays grow by doubling, so adding one item is cheap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from operator import itemgetter

import numpy as np
import polars as pl

from upnext.ids import IdMap
from upnext.types import Bool, Catalogue, Float32, Int32, Int64, Users

CATEGORIES_AN_ITEM = 8
ATTRIBUTES_A_USER = 40


class LiveCatalogue:
    """Calling it gives the Catalogue as of now; ``ids``, ``authors``, ``categories`` translate its codes."""

    def __init__(self) -> None:
        self.ids = IdMap()
        self.authors = IdMap()
        self.categories = IdMap()
        self._columns = _ItemColumns(0)
        self._now = self._columns.view(0, [])
        self._titles: list[str] = []
        self.deleted: set[int] = set()

    def __call__(self) -> Catalogue:
        return self._now

    def apply(self, items: pl.DataFrame) -> Int32:
        """Take over rows of ``Log.read_items`` (all of them, or what changed), returning the changed codes."""
        if not len(items):
            return np.empty(0, np.int32)
        items = items.sort("code")
        code = items["code"].to_numpy().astype(np.int32)
        size = max(len(self.ids), int(code[-1]) + 1)
        self._learn_ids(items, code)
        if size > len(self._columns):
            self._columns = self._columns.grown(max(size, 2 * len(self._columns)))
        columns = self._columns
        columns.published_at[code] = items["published_at"].fill_null(0).to_numpy()
        columns.duration[code] = items["duration"].cast(pl.Float32).fill_null(float("nan")).to_numpy()
        columns.author[code] = _encode(self.authors, items["author"])
        columns.category[code] = self._encode_categories(items["categories"])
        columns.revision[code] = items["revision"].to_numpy()
        columns.available[code] = (items["available"].fill_null(True) & ~items["deleted"]).to_numpy()
        gone = items["deleted"].to_numpy()
        if self.deleted:
            self.deleted.difference_update(code[~gone].tolist())
        self.deleted.update(code[gone].tolist())
        self._titles.extend([""] * (size - len(self._titles)))
        for row, title in zip(code.tolist(), items["title"].fill_null("").to_list(), strict=True):
            self._titles[row] = title
        columns.take_vectors(code, items["vector"])
        self._now = columns.view(size, self._titles)
        return code

    def changed_since(self, revision: int) -> Int32:
        """The items that are of a later revision of the log's catalogue."""
        return np.flatnonzero(self._columns.revision[: len(self.ids)] > revision).astype(np.int32)

    def category_codes(self, names: Iterable[str]) -> Int32:
        """Codes of category names; unknown names match nothing and are left out."""
        codes = self.categories.encode(list(names))
        return codes[codes >= 0]

    def _learn_ids(self, items: pl.DataFrame, code: Int32) -> None:
        for row, id_ in zip(code.tolist(), items["item_id"].to_list(), strict=True):
            if row == len(self.ids):
                self.ids.extend([id_])
            elif row > len(self.ids):
                raise ValueError(f"item code {row} ({id_!r}) arrived before code {len(self.ids)}")

    def _encode_categories(self, column: pl.Series) -> Int32:
        out = np.full((len(column), CATEGORIES_AN_ITEM), -1, np.int32)
        length = column.list.len().fill_null(0).to_numpy().astype(np.int64)
        flat = column.explode(empty_as_null=False, keep_nulls=False)
        codes = _encode(self.categories, flat)
        row = np.repeat(np.arange(len(column)), length)
        place = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
        fits = place < CATEGORIES_AN_ITEM
        out[row[fits], place[fits]] = codes[fits]
        return out


class _ItemColumns:
    def __init__(self, size: int) -> None:
        self.published_at: Int64 = np.zeros(size, np.int64)
        self.duration: Float32 = np.full(size, np.nan, np.float32)
        self.author: Int32 = np.full(size, -1, np.int32)
        self.category: Int32 = np.full((size, CATEGORIES_AN_ITEM), -1, np.int32)
        self.available: Bool = np.zeros(size, np.bool_)
        self.revision: Int64 = np.zeros(size, np.int64)
        self.vector: Float32 | None = None

    def __len__(self) -> int:
        return len(self.published_at)

    def grown(self, size: int) -> _ItemColumns:
        bigger, have = _ItemColumns(size), len(self)
        for name in ("published_at", "duration", "author", "category", "available", "revision"):
            getattr(bigger, name)[:have] = getattr(self, name)
        if self.vector is not None:
            bigger.vector = np.full((size, self.vector.shape[1]), np.nan, np.float32)
            bigger.vector[:have] = self.vector
        return bigger

    def take_vectors(self, code: Int32, column: pl.Series) -> None:
        given = column.is_not_null().to_numpy()
        if self.vector is not None:
            self.vector[code] = np.nan
        if not given.any():
            return
        vectors = np.asarray(column.drop_nulls().to_list(), np.float32)
        if self.vector is None:
            self.vector = np.full((len(self), vectors.shape[1]), np.nan, np.float32)
        self.vector[code[given]] = vectors

    def view(self, size: int, titles: list[str]) -> Catalogue:
        return Catalogue(
            self.published_at[:size],
            self.duration[:size],
            self.author[:size],
            self.category[:size],
            self.available[:size],
            titles,
            None if self.vector is None else self.vector[:size],
        )


class LiveUsers:
    """Calling it gives the Users as of now; ``attributes`` translates the codes of "name=value" pairs."""

    def __init__(self) -> None:
        self.ids = IdMap()
        self.attributes = IdMap()
        self._attribute: Int32 = np.full((0, ATTRIBUTES_A_USER), -1, np.int32)
        self._blocked: dict[int, Int32] = {}

    def __call__(self) -> Users:
        return Users(self._attribute[: len(self.ids)], self._blocked)

    def apply(self, users: pl.DataFrame, catalogue: LiveCatalogue) -> None:
        """Take over rows of ``Log.read_users``; blocked authors are coded with the catalogue's authors."""
        if not len(users):
            return
        # Lists, sorted here: for the one new user of an event, a query plan would take longer than all the rest.
        columns = (users[name].to_list() for name in ("code", "user_id", "attributes", "blocked_authors", "deleted"))
        for code, id_, attributes, blocked, deleted in sorted(zip(*columns, strict=True), key=itemgetter(0)):
            if code == len(self.ids):
                self.ids.extend([id_])
            self._set(code, "{}" if deleted or attributes is None else attributes)
            self._blocked.pop(code, None)
            if blocked and not deleted:
                catalogue.authors.extend(blocked)
                self._blocked[code] = catalogue.authors.encode(blocked)

    def _set(self, code: int, attributes: str) -> None:
        if code >= len(self._attribute):
            room = max(code + 1, 2 * len(self._attribute)) - len(self._attribute)
            self._attribute = np.concatenate([self._attribute, np.full((room, ATTRIBUTES_A_USER), -1, np.int32)])
        self._attribute[code] = -1
        if attributes == "{}":
            return
        pairs = [f"{name}={_shown(value)}" for name, value in json.loads(attributes).items() if value is not None]
        pairs = pairs[:ATTRIBUTES_A_USER]
        self.attributes.extend(pairs)
        self._attribute[code, : len(pairs)] = self.attributes.encode(pairs)


def _encode(ids: IdMap, column: pl.Series) -> Int32:
    """Codes of a string column, -1 for null; new strings are added, each looked up once."""
    distinct = column.drop_nulls().unique(maintain_order=True)
    ids.extend(distinct.to_list())
    mapping = pl.DataFrame({"name": distinct, "code": ids.encode(distinct.to_list())})
    joined = column.alias("name").to_frame().join(mapping, on="name", how="left", maintain_order="left")
    return joined["code"].fill_null(-1).to_numpy().astype(np.int32)


def _shown(value: object) -> str:
    """Large numbers share a token with their neighbours, so that a model can learn them."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 100 <= abs(value) < math.inf:
        return f"~2^{int(math.log2(abs(value)) * 2) / 2:g}"
    return str(value)
