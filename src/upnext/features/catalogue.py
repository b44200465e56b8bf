"""The catalogue and the users as live columns: views that tail the log's upserts and deletions.

A change is visible as soon as ``apply`` returns. Arrays have room to grow, so adding one item is cheap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from upnext.ids import IdMap
from upnext.packed import PackedIds, Texts
from upnext.rows import grown, mapped, write_rows
from upnext.types import Bool, Catalogue, Float32, Int32, Int64, Users, ragged_places

CATEGORIES_AN_ITEM = 8
ATTRIBUTES_A_USER = 40
USERS_AT_ONCE = 1 << 14  # taken over as Python objects
_IDS, _TITLES = "item_id", "title"  # of the files


class LiveCatalogue:
    """Calling it gives the Catalogue as of now; ``ids``, ``authors``, ``categories`` translate its codes."""

    def __init__(self) -> None:
        self.ids = PackedIds()
        self.authors = IdMap()
        self.categories = IdMap()
        self._columns = _ItemColumns()
        self._titles = Texts()
        self._now = self._columns.view(0, self._titles)
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
        columns = self._columns.grown(size)
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
        self._titles.put(code, items["title"].fill_null("").to_list())
        columns.take_vectors(code, items["vector"])
        self._columns, self._now = columns, columns.view(size, self._titles)
        return code

    def changed_since(self, revision: int) -> Int32:
        """The items that are of a later revision of the log's catalogue."""
        return np.flatnonzero(self._columns.revision[: len(self.ids)] > revision).astype(np.int32)

    def category_codes(self, names: Iterable[str]) -> Int32:
        """Codes of category names; unknown names match nothing and are left out."""
        codes = self.categories.encode(list(names))
        return codes[codes >= 0]

    def save(self, directory: Path, size: int) -> dict[str, Any]:
        """Write the first ``size`` items as columns, and return what ``load`` needs to be told besides.

        Items may change meanwhile: such a row is written as it was or as it is now. What names its codes is complete.
        """
        self.ids.save(directory, _IDS, size)
        self._titles.save(directory, _TITLES, size)
        self._columns.save(directory, size)
        return {
            "size": size,
            "authors": list(self.authors.names),
            "categories": list(self.categories.names),
            "deleted": sorted(self.deleted),
        }

    def load(self, directory: Path, about: Mapping[str, Any]) -> None:
        """Make this, a catalogue that holds no items yet, what was saved. The columns are mapped, not read.

        Names of authors and categories that are known already keep their codes. Raises OSError or ValueError where
        a file cannot be read, and then changes nothing.
        """
        size = int(about["size"])
        ids, titles = PackedIds.load(directory, _IDS, size), Texts.load(directory, _TITLES, size)
        columns = _ItemColumns.load(directory)
        for names, stored, column in (
            (self.authors, about["authors"], columns.author),
            (self.categories, about["categories"], columns.category),
        ):
            names.extend(stored)
            code = names.encode(stored)
            if not np.array_equal(code, np.arange(len(code))):
                column[:size] = np.append(code, np.int32(-1))[column[:size]]  # -1, none, is the last place
        self.ids, self._titles, self._columns = ids, titles, columns
        self.deleted = set(about["deleted"])
        self._now = columns.view(size, titles)

    def _learn_ids(self, items: pl.DataFrame, code: Int32) -> None:
        known = len(self.ids)
        first = int(np.searchsorted(code, known))
        expected = known + np.arange(len(code) - first)
        if (early := np.flatnonzero(code[first:] != expected)).size:
            row = first + int(early[0])
            raise ValueError(
                f"item code {code[row]} ({items['item_id'][row]!r}) arrived before code {expected[early[0]]}"
            )
        self.ids.extend(items["item_id"][first:].to_list())

    def _encode_categories(self, column: pl.Series) -> Int32:
        out = np.full((len(column), CATEGORIES_AN_ITEM), -1, np.int32)
        length = column.list.len().fill_null(0).to_numpy().astype(np.int64)
        flat = column.explode(empty_as_null=False, keep_nulls=False)
        codes = _encode(self.categories, flat)
        row = np.repeat(np.arange(len(column)), length)
        place = ragged_places(length)
        fits = place < CATEGORIES_AN_ITEM
        out[row[fits], place[fits]] = codes[fits]
        return out


@dataclass(slots=True)
class _ItemColumns:
    """Rows beyond the items are not in use: every item's row is written whole when it comes."""

    published_at: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    duration: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    author: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    category: Int32 = field(default_factory=lambda: np.zeros((0, CATEGORIES_AN_ITEM), np.int32))
    available: Bool = field(default_factory=lambda: np.zeros(0, np.bool_))
    revision: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    vector: Float32 | None = None

    def grown(self, size: int) -> _ItemColumns:
        """These columns if they have so many rows, else copies that do."""
        if size <= len(self.published_at):
            return self
        return _ItemColumns(**{name: grown(column, size) for name, column in self._present().items()})

    def take_vectors(self, code: Int32, column: pl.Series) -> None:
        given = column.is_not_null().to_numpy()
        if self.vector is not None:
            self.vector[code] = np.nan
        if not given.any():
            return
        vectors = np.asarray(column.drop_nulls().to_list(), np.float32)
        if self.vector is None:
            self.vector = np.full((len(self.published_at), vectors.shape[1]), np.nan, np.float32)
        self.vector[code[given]] = vectors

    def view(self, size: int, titles: Texts) -> Catalogue:
        return Catalogue(
            self.published_at[:size],
            self.duration[:size],
            self.author[:size],
            self.category[:size],
            self.available[:size],
            titles,
            None if self.vector is None else self.vector[:size],
        )

    def save(self, directory: Path, size: int) -> None:
        for name, column in self._present().items():
            write_rows(directory / f"{name}.npy", column.dtype, size, *column.shape[1:])[:] = column[:size]

    @classmethod
    def load(cls, directory: Path) -> _ItemColumns:
        names = [name for name in cls.__slots__ if name != "vector" or (directory / "vector.npy").exists()]
        return cls(**{name: mapped(directory / f"{name}.npy") for name in names})

    def _present(self) -> dict[str, NDArray[Any]]:
        return {name: column for name in self.__slots__ if (column := getattr(self, name)) is not None}


class LiveUsers:
    """Calling it gives the Users as of now; ``attributes`` translates the codes of "name=value" pairs."""

    def __init__(self) -> None:
        self.ids = PackedIds()
        self.attributes = IdMap()
        self._attribute: Int32 = np.full((0, ATTRIBUTES_A_USER), -1, np.int32)
        self._blocked: dict[int, Int32] = {}

    def __call__(self) -> Users:
        return Users(self._attribute[: len(self.ids)], self._blocked)

    def apply(self, users: pl.DataFrame, catalogue: LiveCatalogue) -> None:
        """Take over rows of ``Log.read_users``; blocked authors are coded with the catalogue's authors."""
        if not len(users):
            return
        if len(users) > 1:  # for the one new user of an event, a query plan would take longer than all the rest
            users = users.sort("code")
        for part in users.iter_slices(USERS_AT_ONCE):
            self._take(part, catalogue)

    def _take(self, users: pl.DataFrame, catalogue: LiveCatalogue) -> None:
        columns = (users[name].to_list() for name in ("code", "user_id", "attributes", "blocked_authors", "deleted"))
        rows, known = list(zip(*columns, strict=True)), len(self.ids)
        self.ids.extend([row[1] for row in rows if row[0] >= known])
        self._attribute = grown(self._attribute, len(self.ids), fill=-1)
        for code, _, attributes, blocked, deleted in rows:
            if code >= known and attributes is None and blocked is None:
                continue  # a new user of whom nothing is said: nearly all
            self._set(code, "{}" if deleted or attributes is None else attributes)
            self._blocked.pop(code, None)
            if blocked and not deleted:
                catalogue.authors.extend(blocked)
                self._blocked[code] = catalogue.authors.encode(blocked)

    def _set(self, code: int, attributes: str) -> None:
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
