"""The data that flows through the funnel: immutable tables of columns, one batch axis, int codes inside.

Shapes: B requests, N rows (candidates of all requests together), K history slots, F features.
Times are Unix milliseconds (int64). ``NO_ITEM``/``NO_USER`` (-1) mean "none" or "unknown".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int8 = NDArray[np.int8]
Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Column = NDArray[np.generic]

NO_ITEM = -1
NO_USER = -1

NO_COLUMNS: Mapping[str, Column] = MappingProxyType({})


def ragged_rows(offsets: Int64) -> Int64:
    """The request index of every row of a ragged batch: ``[B+1] -> [N]``."""
    if len(offsets) == 2:  # a single request, which is what a server is asked
        return np.zeros(offsets[1] - offsets[0], np.int64)
    return np.repeat(np.arange(len(offsets) - 1), offsets[1:] - offsets[:-1])


def ragged_places(sizes: Int64) -> Int64:
    """The place, from 0, of every row within its own list, for lists of ``sizes`` in a row: ``[B] -> [N]``."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)


@dataclass(frozen=True, slots=True)
class Ragged:
    """One list of item codes a request: ``item[offsets[b]:offsets[b + 1]]`` belongs to request b."""

    item: Int32
    offsets: Int64

    @classmethod
    def empty(cls, batch: int) -> Ragged:
        return cls(np.empty(0, np.int32), np.zeros(batch + 1, np.int64))

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> Ragged:
        sizes = [len(row) for row in lists]
        flat = [code for row in lists for code in row]
        return cls(np.asarray(flat, np.int32), np.cumsum([0, *sizes], dtype=np.int64))

    def __getitem__(self, request: int) -> Int32:
        return self.item[self.offsets[request] : self.offsets[request + 1]]


@dataclass(frozen=True, slots=True)
class History:
    """The last K events of each request's user, oldest first, right-aligned; empty slots have item -1.

    ``event`` holds event type codes, ``value`` what the event carried (seconds, stars; NaN if nothing).
    """

    item: Int32  # [B, K]
    event: Int16  # [B, K]
    at: Int64  # [B, K]
    value: Float32  # [B, K]

    @classmethod
    def empty(cls, batch: int, size: int) -> History:
        shape = (batch, size)
        return cls(
            np.full(shape, NO_ITEM, np.int32),
            np.full(shape, -1, np.int16),
            np.zeros(shape, np.int64),
            np.full(shape, np.nan, np.float32),
        )

    def __len__(self) -> int:
        return len(self.item)

    def take(self, requests: Int64 | slice) -> History:
        return History(self.item[requests], self.event[requests], self.at[requests], self.value[requests])


@dataclass(frozen=True, slots=True)
class Requests:
    """A batch of B requests. Histories are filled in from the live state before any stage runs."""

    user: Int32  # [B], NO_USER when unknown
    now: Int64  # [B]
    surface: Int16  # [B], surface codes; 0 is the default surface
    k: int
    acted: History  # feedback: clicks, watches, likes...
    shown: History  # impressions
    exclude: Ragged  # never to be shown, named by the caller
    anchors: Ragged  # the items whose neighbours are wanted (similar items, "because you watched")
    diversity: float | None = None  # 0..1, None = configured
    explore: float | None = None  # 0..1, None = configured
    value_weights: Mapping[str, float] | None = None  # overrides per task, None = configured
    categories: Int32 | None = None  # keep only items with one of these category codes
    allow_watched: bool = False  # similar items and trending also show what was seen

    def __len__(self) -> int:
        return len(self.user)

    def take(self, request: int) -> Requests:
        """One request of the batch, as a batch of 1."""
        one = slice(request, request + 1)
        return replace(
            self,
            user=self.user[one],
            now=self.now[one],
            surface=self.surface[one],
            acted=self.acted.take(one),
            shown=self.shown.take(one),
            exclude=Ragged.of([self.exclude[request].tolist()]),
            anchors=Ragged.of([self.anchors[request].tolist()]),
        )


class Columns(Mapping[str, Column]):
    """Named columns of a table, read-only. Those of chosen rows are gathered when they are first read.

    So choosing rows costs the same for any number of columns: a slate of ten rows gathers ten rows, however many
    stages chose before.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: Mapping[str, Column | tuple[Column, Int64]]) -> None:
        """A part is a column, or a column and the rows of it that are meant."""
        self._parts = dict(parts)

    def __getitem__(self, name: str) -> Column:
        part = self._parts[name]
        if isinstance(part, tuple):
            column, rows = part
            part = self._parts[name] = column[rows]
        return part

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def and_more(self, columns: Mapping[str, Column]) -> Columns:
        """These and others; of two with one name the other."""
        return Columns({**self._parts, **columns})

    def take(self, rows: Int64) -> Columns:
        chosen: dict[int, Int64] = {}  # rows of rows, worked out once for all columns that were chosen together

        def later(part: Column | tuple[Column, Int64]) -> tuple[Column, Int64]:
            if not isinstance(part, tuple):
                return part, rows
            column, before = part
            if id(before) not in chosen:
                chosen[id(before)] = before[rows]
            return column, chosen[id(before)]

        return Columns({name: later(part) for name, part in self._parts.items()})


@dataclass(frozen=True, slots=True)
class Candidates:
    """Items proposed for a batch of requests, as columns. Training examples are the same table.

    Rows of request b are ``offsets[b]:offsets[b + 1]``. ``features`` is one float32 matrix ``[N, F]`` whose
    columns are ``feature_names``; ``columns`` holds everything named: ``score_<source>``, ``p_<task>``, labels.
    """

    item: Int32
    offsets: Int64
    columns: Mapping[str, Column] = field(default_factory=lambda: NO_COLUMNS)
    features: Float32 | None = None
    feature_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.offsets[-1] != len(self.item):
            raise ValueError(f"offsets end at {self.offsets[-1]}, but there are {len(self.item)} items")

    def __len__(self) -> int:
        return len(self.item)

    @property
    def batch(self) -> int:
        return len(self.offsets) - 1

    @property
    def request(self) -> Int64:
        """The request index of every row, ``[N]``."""
        return ragged_rows(self.offsets)

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def with_columns(self, columns: Mapping[str, Column]) -> Candidates:
        """The same rows with more columns; an existing name or a wrong length is refused."""
        for name, column in columns.items():
            if name in self.columns:
                raise ValueError(f"column {name!r} exists already")
            if len(column) != len(self):
                raise ValueError(f"column {name!r} has {len(column)} rows, the table has {len(self)}")
        return self._with(self._columns().and_more(columns))

    def in_place_of(self, columns: Mapping[str, Column]) -> Candidates:
        """The same rows with these columns instead of those of the same names."""
        return self._with(self._columns().and_more(columns))

    def with_features(self, features: Float32, names: tuple[str, ...]) -> Candidates:
        if features.shape != (len(self), len(names)):
            raise ValueError(f"features are {features.shape}, expected {(len(self), len(names))}")
        return Candidates(self.item, self.offsets, self.columns, features, names)

    def without_features(self) -> Candidates:
        return Candidates(self.item, self.offsets, self.columns)

    def keep(self, mask: Bool) -> Candidates:
        """The rows where ``mask`` is true, in their order."""
        rows = np.flatnonzero(mask)
        return self._rows(rows, np.searchsorted(rows, self.offsets))

    def take(self, rows: Int64, offsets: Int64) -> Candidates:
        """The given rows in the given order; ``offsets`` says which belong to which request."""
        return self._rows(rows, offsets)

    def of_request(self, request: int) -> Candidates:
        """The rows of one request, as a batch of 1."""
        rows = np.arange(self.offsets[request], self.offsets[request + 1])
        return self._rows(rows, np.array([0, len(rows)], np.int64))

    def _columns(self) -> Columns:
        return self.columns if isinstance(self.columns, Columns) else Columns(self.columns)

    def _with(self, columns: Columns) -> Candidates:
        return Candidates(self.item, self.offsets, columns, self.features, self.feature_names)

    def _rows(self, rows: Int64, offsets: Int64) -> Candidates:
        return Candidates(
            self.item[rows],
            offsets,
            self._columns().take(rows),
            None if self.features is None else self.features[rows],
            self.feature_names,
        )


@dataclass(frozen=True, slots=True)
class Order:
    """What a reranker answers: row numbers of the candidates in slate order, ragged over requests.

    ``propensity[m]`` is the probability with which the policy puts that row at that position (1 = always).
    """

    rows: Int64  # [M]
    offsets: Int64  # [B + 1]
    propensity: Float32  # [M]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is known of the items, by item code: I items, columns only.

    ``tokens`` hold the item's content as codes of a vocabulary that the training owns; here is the raw text.
    """

    published_at: Int64  # [I], 0 = unknown
    duration: Float32  # [I], seconds, NaN = unknown
    author: Int32  # [I], author codes, -1 = unknown
    category: Int32  # [I, C], category/tag codes, -1 padded; column 0 is the main category
    available: Bool  # [I]
    title: Sequence[str]  # [I]
    vector: Float32 | None = None  # [I, V] supplied content vectors, rows of NaN where none was supplied

    def __len__(self) -> int:
        return len(self.published_at)


@dataclass(frozen=True, slots=True)
class Users:
    """What is known of the users, by user code: ``attribute[u]`` are codes of "name=value" pairs, -1 padded."""

    attribute: Int32  # [U, A]
    blocked_authors: Mapping[int, Int32] = field(default_factory=dict)  # user code -> author codes

    def __len__(self) -> int:
        return len(self.attribute)


@dataclass(frozen=True, slots=True)
class Events:
    """A run of the log as columns, in log order. Row n was appended at ``offset[n]``."""

    offset: Int64
    type: Int16  # event type codes
    user: Int32
    item: Int32
    happened_at: Int64
    received_at: Int64
    value: Float32  # NaN where the event carries none
    position: Int16  # -1 where unknown, 0 is the top
    surface: Int16
    recommendation: Int64  # 64-bit hash of the recommendation_id, 0 where none
    as_of: Int64  # impressions served by us: the log offset that the features had seen; -1 elsewhere

    def __len__(self) -> int:
        return len(self.offset)

    def take(self, rows: Int64 | Bool | slice) -> Events:
        return Events(*(getattr(self, name)[rows] for name in EVENT_COLUMNS))

    @classmethod
    def concat(cls, parts: Sequence[Events]) -> Events:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in EVENT_COLUMNS))

    @classmethod
    def empty(cls) -> Events:
        return cls(*(np.empty(0, dtype) for dtype in EVENT_COLUMNS.values()))


EVENT_COLUMNS: Mapping[str, type[np.generic]] = {
    "offset": np.int64,
    "type": np.int16,
    "user": np.int32,
    "item": np.int32,
    "happened_at": np.int64,
    "received_at": np.int64,
    "value": np.float32,
    "position": np.int16,
    "surface": np.int16,
    "recommendation": np.int64,
    "as_of": np.int64,
}


@dataclass(frozen=True, slots=True)
class StageTrace:
    """What one stage did: rows in and out, milliseconds, an error if it failed, and a count a reason."""

    stage: str  # candidates, features, ranking, reranking
    name: str
    rows_in: int
    rows_out: int
    ms: float
    error: str | None = None
    detail: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slate:
    """The answer to a batch: M chosen rows with all their columns, best first, and how it came about."""

    chosen: Candidates  # take()n rows; has columns value, propensity, score_*, p_*
    considered: Candidates  # every row that reached ranking, with predictions: the x-ray reads it
    removed: Mapping[str, Candidates]  # filter name -> the rows it removed
    trace: tuple[StageTrace, ...]
    degraded: tuple[str, ...]
    took_ms: float
