"""Content as codes: what titles, tags, authors and durations look like to the networks.

A vocabulary holds names, not codes, so it fits any later catalogue. 0 means padding or unknown everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from upnext.compiled import compiled
from upnext.errors import ArtifactError, DataError
from upnext.ids import IdMap
from upnext.types import Bool, Catalogue, Column, Float32, Int32, Int64, Users, ragged_places

Names = Sequence[str]
"""The name of every code: ``LiveCatalogue.authors.names``, ``Log.ids("surface")``..."""

TITLE_WORDS = 12
CATEGORIES = 8
ATTRIBUTES = 32
FEW = 64
DURATION_BUCKETS = 32  # half octaves from 1 second to 18 hours

VOCABULARY_FILE = "vocabulary.json"
ITEMS_FILE = "vocabulary_items.npy"
USERS_FILE = "vocabulary_users.npy"


@dataclass(frozen=True, slots=True)
class ItemContent:
    """Fixed-width codes of n items; all int32 but ``vector`` and ``has_vector``."""

    id: Int32  # [n], place among the items seen in training, from 1
    title: Int32  # [n, TITLE_WORDS]
    category: Int32  # [n, CATEGORIES]
    author: Int32  # [n]
    duration: Int32  # [n]
    vector: Float32  # [n, V], zeros where none was supplied
    has_vector: Float32  # [n], 1 or 0

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: Int32 | Int64 | slice) -> ItemContent:
        return ItemContent(**{name: column[rows] for name, column in self.columns().items()})

    def columns(self) -> dict[str, Any]:
        """The inputs of an item encoder by name, in its order."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names and codes that have a place in the networks: the n-th of each field has code n + 1."""

    title: IdMap
    category: IdMap
    author: IdMap
    attribute: IdMap  # "name=value" of users
    surface: IdMap
    items: Int32  # item codes seen in training, ascending
    users: Int32  # user codes seen in training, ascending
    vector_size: int

    def save(self, directory: Path) -> None:
        fields: dict[str, IdMap] = {field: getattr(self, field) for field in _NAMED}
        names = {field: ids.decode(range(len(ids))) for field, ids in fields.items()}
        text = json.dumps({**names, "vector_size": self.vector_size}, ensure_ascii=False)
        (directory / VOCABULARY_FILE).write_text(text, encoding="utf-8")
        np.save(directory / ITEMS_FILE, self.items, allow_pickle=False)
        np.save(directory / USERS_FILE, self.users, allow_pickle=False)

    @classmethod
    def load(cls, directory: Path) -> Vocabulary:
        """Raises ArtifactError when a file is missing or damaged."""
        try:
            stored = json.loads((directory / VOCABULARY_FILE).read_text(encoding="utf-8"))
            items = np.load(directory / ITEMS_FILE, allow_pickle=False)
            users = np.load(directory / USERS_FILE, allow_pickle=False)
            names = {field: IdMap(stored[field]) for field in _NAMED}
            return cls(**names, items=items, users=users, vector_size=int(stored["vector_size"]))
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"{directory}: no readable vocabulary ({error}). Train again.") from error


_NAMED = ("title", "category", "author", "attribute", "surface")


def build_vocabulary(
    catalogue: Catalogue,
    author_names: Names,
    category_names: Names,
    users: Users,
    attribute_names: Names,
    surface_names: Names,
    item: Int32,
    user: Int32,
    title_words: int = 50_000,
) -> Vocabulary:
    """Collect what occurs often enough to be learned; ``item`` and ``user`` are the codes of all interactions.

    Words and authors need two items, attributes five users; the most frequent ``title_words`` words are kept.
    """
    words = _words(catalogue.title).explode().drop_nulls().value_counts()
    words = words.filter(pl.col("count") >= 2).sort(["count", "word"], descending=[True, False])
    return Vocabulary(
        title=IdMap(words["word"].head(title_words).to_list()),
        category=IdMap(_frequent(catalogue.category, category_names, 1)),
        author=IdMap(_frequent(catalogue.author, author_names, 2)),
        attribute=IdMap(_frequent(users.attribute, attribute_names, 5)),
        surface=IdMap(surface_names),
        items=np.unique(item[item >= 0]).astype(np.int32),
        users=np.unique(user[user >= 0]).astype(np.int32),
        vector_size=0 if catalogue.vector is None else catalogue.vector.shape[1],
    )


def grow_vocabulary(old: Vocabulary, fresh: Vocabulary, title_words: int = 50_000) -> Vocabulary:
    """``old`` and what only ``fresh`` knows: every name keeps its code, new ones follow; items and users ascend.

    ``fresh`` is of the same catalogue, later; beyond ``title_words`` no word is added.
    """
    names: dict[str, IdMap] = {}
    for field in _NAMED:
        known: IdMap = getattr(old, field)
        more = [name for name in getattr(fresh, field).names if name not in known]
        room = max(title_words - len(known), 0) if field == "title" else len(more)
        names[field] = IdMap([*known.names, *more[:room]])
    items, users = np.union1d(old.items, fresh.items), np.union1d(old.users, fresh.users)
    return Vocabulary(**names, items=items.astype(np.int32), users=users.astype(np.int32), vector_size=old.vector_size)


def moved_rows(old: Vocabulary, grown: Vocabulary) -> dict[str, Int64]:
    """By field, the row that each row of an embedding table of ``old`` has in a table of ``grown``; 0 stays 0."""
    rows = {field: np.arange(len(getattr(old, field)) + 1) for field in _NAMED}
    for field in ("items", "users"):
        places = np.searchsorted(getattr(grown, field), getattr(old, field)) + 1
        rows[field] = np.concatenate([[0], places]).astype(np.int64)
    return rows


def encode_items(
    catalogue: Catalogue,
    author_names: Names,
    category_names: Names,
    vocabulary: Vocabulary,
    rows: Int32 | slice | None = None,
) -> ItemContent:
    """Encode the items with codes ``rows`` (None = all); ``*_names[code]`` are the catalogue's names.

    Raises DataError when the supplied vectors have another length than in training.
    """
    codes = np.arange(len(catalogue), dtype=np.int32)[slice(None) if rows is None else rows]
    titles = catalogue.title if rows is None else [catalogue.title[code] for code in codes.tolist()]
    vector, has_vector = _vectors(catalogue, vocabulary, codes)
    return ItemContent(
        id=_place(codes, vocabulary.items),
        title=_encode_titles(titles, vocabulary.title),
        category=_left_packed(_translate(catalogue.category[codes], category_names, vocabulary.category), CATEGORIES),
        author=_translate(catalogue.author[codes], author_names, vocabulary.author),
        duration=duration_bucket(catalogue.duration[codes]),
        vector=vector,
        has_vector=has_vector,
    )


def encode_users(users: Users, attribute_names: Names, vocabulary: Vocabulary, rows: Int32 | None = None) -> Int32:
    """Attribute codes ``[n, ATTRIBUTES]`` of the users with codes ``rows`` (None = all); unknown users get zeros."""
    attribute = users.attribute
    if rows is None:
        return _left_packed(_translate(attribute, attribute_names, vocabulary.attribute), ATTRIBUTES)
    encoded = np.zeros((len(rows), ATTRIBUTES), np.int32)
    known = (rows >= 0) & (rows < len(attribute))
    if known.any() and attribute.shape[1]:
        codes = _translate(attribute[rows[known]], attribute_names, vocabulary.attribute)
        encoded[known] = _left_packed(codes, ATTRIBUTES)
    return encoded


def encode_surfaces(surface: Column, surface_names: Names, vocabulary: Vocabulary) -> Int32:
    """Codes ``[n]`` of the surfaces, 0 for one unknown in training."""
    return _translate(surface.astype(np.int32), surface_names, vocabulary.surface)


def place_users(user: Int32, vocabulary: Vocabulary) -> Int32:
    """Place of each user among those seen in training, from 1; 0 for all others."""
    return _place(user, vocabulary.users)


def duration_bucket(seconds: Float32) -> Int32:
    """Half octaves: 1 for a second or less, 31 from 9 hours on; 0 where the duration is unknown."""
    known = np.isfinite(seconds) & (seconds > 0)
    octaves = np.log2(np.where(known, seconds, 1.0))
    bucket = 1 + np.clip(np.floor(2 * octaves), 0, DURATION_BUCKETS - 2)
    return np.where(known, bucket, 0).astype(np.int32)


def _place(codes: Int32, seen: Int32) -> Int32:
    if not len(seen):
        return np.zeros(len(codes), np.int32)
    place = np.minimum(np.searchsorted(seen, codes), len(seen) - 1)
    return np.where(seen[place] == codes, place + 1, 0).astype(np.int32)


def _translate(codes: Int32, names: Names, vocabulary: IdMap) -> Int32:
    """Catalogue codes to vocabulary codes, by name; every distinct code is looked up once."""
    if codes.size <= FEW:  # a request: finding what is distinct would cost more than looking all up
        known = [vocabulary.code(names[code]) + 1 if 0 <= code < len(names) else 0 for code in codes.ravel().tolist()]
        return np.array(known, np.int32).reshape(codes.shape)
    distinct, inverse = np.unique(codes, return_inverse=True)
    found = np.zeros(len(distinct), np.int32)
    named = (distinct >= 0) & (distinct < len(names))
    found[named] = vocabulary.encode(_spelled(names, distinct[named])) + 1
    return found[inverse].reshape(codes.shape)


def _spelled(names: Names, codes: Int32 | Int64) -> list[str]:
    return [names[code] for code in codes.tolist()]


def _frequent(codes: Int32, names: Names, least: int) -> list[str]:
    counts = np.bincount(codes[codes >= 0].ravel(), minlength=len(names))
    return _spelled(names, np.flatnonzero(counts >= least))


def _words(titles: Sequence[str]) -> pl.Series:
    """Lists of lower-case words, one list a title."""
    series = pl.Series("word", list(titles), dtype=pl.String).fill_null("")
    return series.str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+")


def _encode_titles(titles: Sequence[str], vocabulary: IdMap) -> Int32:
    lists = _words(titles)
    words = lists.explode().drop_nulls()
    distinct = words.unique()
    codes = vocabulary.encode(distinct.to_list()) + 1
    flat = codes[words.cast(pl.Enum(distinct)).to_physical().to_numpy()]
    rows = np.repeat(np.arange(len(titles)), lists.list.len().to_numpy())
    return _padded(rows[flat > 0], flat[flat > 0], len(titles), TITLE_WORDS)


@compiled("int32[:, ::1](Array(int32, 2, 'A', readonly=True), int64)")
def _left_packed(codes: Any, width: int) -> Any:
    """The codes above 0 of every row, moved to the left and cut or padded to ``width``."""
    packed = np.zeros((codes.shape[0], width), np.int32)
    for row in range(codes.shape[0]):
        end = 0
        for place in range(codes.shape[1]):
            if codes[row, place] != 0 and end < width:
                packed[row, end] = codes[row, place]
                end += 1
    return packed


def _padded(rows: Int64, codes: Int32, n: int, width: int) -> Int32:
    counts = np.bincount(rows, minlength=n)
    place = ragged_places(counts)
    fits = place < width
    padded = np.zeros((n, width), np.int32)
    padded[rows[fits], place[fits]] = codes[fits]
    return padded


def _vectors(catalogue: Catalogue, vocabulary: Vocabulary, codes: Int32) -> tuple[Float32, Float32]:
    size = vocabulary.vector_size
    if size == 0 or catalogue.vector is None:
        return np.zeros((len(codes), size), np.float32), np.zeros(len(codes), np.float32)
    if catalogue.vector.shape[1] != size:
        raise DataError(
            f"items come with vectors of length {catalogue.vector.shape[1]}, but the model was trained with {size}: "
            "train again, or supply vectors of the old length"
        )
    supplied = catalogue.vector[codes]
    has_vector: Bool = np.asarray(np.isfinite(supplied).all(axis=1))
    return np.where(has_vector[:, None], supplied, 0).astype(np.float32), has_vector.astype(np.float32)
