"""The items nearest to a vector by inner product: a static main index, a small dynamic part, and tombstones.

One search merges the parts. Readers never wait: every change replaces an immutable state.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from upnext.compiled import compiled
from upnext.errors import ArtifactError
from upnext.types import NO_ITEM, Bool, Float32, Int32, Int64
from upnext.vectors import Vectors

Step = Callable[[int, str], None]  # so many items more, and what is being done
UInt8 = NDArray[np.uint8]
UInt64 = NDArray[np.uint64]

faiss: Any = _faiss  # its stubs know neither keyword arguments nor what an index is made of

INDEX_FILE = "index.faiss"
CODES_FILE = "index_codes.npy"
SETTINGS_FILE = "index.json"

# So many are compared in a millisecond; cells find .997 of the best 1,000 in a quarter of that, of fewer too little.
EXACT_BELOW = 50_000
SEED = 1234
SAMPLE, SWEEPS = 40, 8  # vectors a cell, and sweeps, of the k-means that places the cells
AT_ONCE = 1 << 17  # vectors put in at once
COARSER = 4  # cells of an index that is soon thrown away
# As many cells are read as find this share of what all of them would find, to so many queries of so many items.
ENOUGH, ASKING, BEST = 0.99, 64, 1000
SPARE = 8  # of 8-bit codes an eighth more is taken, and compared exactly: of the best 1,000 they alone miss 14
MOST = 8  # times what ``layout`` says, whatever is found: of vectors in no clusters nearly all cells would be needed


@dataclass(frozen=True, slots=True)
class _State:
    """What one search sees; arrays are never written to after they are published, only appended beyond ``added``."""

    alive: Bool  # [main rows]
    dead: int
    search: Any  # FAISS's parameters of a search of the main part, None = its defaults
    bitmap: UInt8 | None  # [main rows / 8], alive, to which the parameters only point; None = all alive
    vectors: Float32  # [capacity, d], the dynamic part; rows from ``added`` on are not yet in use
    codes: Int32  # [capacity]
    fresh: Bool  # [added], False where a later add or a removal replaced the row
    added: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows of the main part, rows of the dynamic part, and how many of both are never found any more."""

    static: int
    dynamic: int
    tombstones: int


class ItemIndex:
    """Inner-product search over item vectors. Safe to search from many threads while another adds or removes."""

    def __init__(self, main: Any, codes: Int32, probes: int = 0, vectors: Vectors | None = None) -> None:
        """``codes[row]``, rising, is the item of a row of ``main``; ``probes`` = cells searched, 0 for a flat index.

        What cells find is compared once more by ``vectors`` of items, where there are any.
        """
        self._main = main
        self._vectors = vectors if probes else None
        self._codes = codes
        self._probes = probes
        self._lock = threading.Lock()
        size = main.d
        empty = np.empty((0, size), np.float32)
        no_rows = np.empty(0, np.bool_)
        alive, search = np.ones(len(codes), np.bool_), _search_parameters(probes, None)
        self._state = _State(alive, 0, search, None, empty, np.empty(0, np.int32), no_rows, 0)

    def __len__(self) -> int:
        """The items that a search can find."""
        state = self._state
        return int(len(self._codes) - state.dead + np.count_nonzero(state.fresh))

    @property
    def sizes(self) -> Sizes:
        state = self._state
        return Sizes(len(self._codes), state.added, state.dead + state.added - int(np.count_nonzero(state.fresh)))

    def codes(self) -> Int32:
        """The items that a search can find, in no order."""
        state = self._state
        return np.concatenate([self._codes[state.alive], state.codes[: state.added][state.fresh]])

    @property
    def size(self) -> int:
        """Length of the vectors."""
        return int(self._main.d)

    @property
    def cells(self) -> int:
        """How many cells the main part is divided into, 0 where a search reads everything."""
        return int(self._main.nlist) if self._probes else 0

    @classmethod
    def build(
        cls, codes: Int32, vectors: Float32, exact_below: int = EXACT_BELOW, asking: Float32 | None = None
    ) -> ItemIndex:
        """Index ``vectors [n, d]`` of distinct items.

        Exactly when there are few, by cells of 8-bit codes when there are many: as many cells of them are searched as
        queries like ``asking [Q, d]`` need, by default such as the vectors themselves.
        """
        order = np.argsort(codes, kind="stable")
        size, nobody = vectors.shape[1], lambda items, message: None
        return cls._build(codes[order], lambda rows: vectors[order[rows]], size, exact_below, asking, nobody)

    @classmethod
    def build_of(
        cls,
        codes: Int32,
        vectors: Vectors,
        exact_below: int = EXACT_BELOW,
        asking: Float32 | None = None,
        step: Step = lambda items, message: None,
        lasting: bool = True,
    ) -> ItemIndex:
        """The same of the vectors of these distinct items, which are read in parts; ``step`` hears of each.

        Not ``lasting``, it has a quarter of the cells: built in a quarter of the time, and slower to search.
        """
        codes = np.sort(codes)
        coarser = 1 if lasting else COARSER
        return cls._build(
            codes, lambda rows: vectors[codes[rows]], vectors.size, exact_below, asking, step, coarser, vectors
        )

    @classmethod
    def _build(
        cls,
        codes: Int32,
        read: Callable[[Int64], Float32],
        size: int,
        exact_below: int,
        asking: Float32 | None,
        step: Step,
        coarser: int = 1,
        vectors: Vectors | None = None,
    ) -> ItemIndex:
        """``read(rows)`` gives vectors of the items ``codes[rows]``; codes rise."""
        codes = np.ascontiguousarray(codes, np.int32)
        cells, probes = (number // coarser for number in layout(len(codes), exact_below))
        exact = not cells
        step(0, "" if exact else f"{cells:,} cells are placed")
        main = faiss.IndexFlatIP(size) if exact else _inverted_file(len(codes), read, size, cells)
        for first in range(0, len(codes), AT_ONCE):
            rows = np.arange(first, min(first + AT_ONCE, len(codes)))
            main.add(np.ascontiguousarray(read(rows), np.float32))
            step(len(rows), "")
        if not exact:
            step(0, "how many cells a search needs")
            if asking is None or not len(asking):
                asking = read(np.linspace(0, len(codes) - 1, ASKING).astype(np.int64))
            probes = _enough(main, np.ascontiguousarray(asking[:ASKING], np.float32), probes)
        return cls(main, codes, probes, vectors)

    def search(self, queries: Float32, k: int) -> tuple[Int32, Float32]:
        """The best k items of each query: codes ``[B, k]`` (-1 = none) and scores (-inf there).

        Best first; equal scores are ordered by code.
        """
        state = self._state
        queries = np.ascontiguousarray(queries, np.float32)
        keys = self._search_main(queries, k, state)
        if state.added:
            products = queries @ state.vectors[: state.added].T
            rows = np.broadcast_to(np.where(state.fresh, np.arange(state.added), -1), products.shape)
            fresh = _keys(rows, products, state.codes)
            if state.added > k:
                fresh = np.partition(fresh, k - 1, axis=1)[:, :k] if k else fresh[:, :0]
            keys = np.concatenate([keys, fresh], axis=1)
        keys.sort(axis=1)
        codes, scores = _hits(keys, k)
        return codes, scores

    def add(self, codes: Int32, vectors: Float32) -> None:
        """Put in new items, or new vectors of items that are there; the last vector of a repeated code counts."""
        last = len(codes) - 1 - np.unique(codes[::-1], return_index=True)[1]
        codes, vectors = codes[np.sort(last)], vectors[np.sort(last)]
        with self._lock:
            state = self._without(self._state, codes)
            added = state.added + len(codes)
            state = _grown(state, added)
            state.vectors[state.added : added] = vectors
            state.codes[state.added : added] = codes
            fresh = np.concatenate([state.fresh, np.ones(len(codes), np.bool_)])
            self._state = replace(state, fresh=fresh, added=added)

    def remove(self, codes: Int32) -> None:
        """Items with these codes are no longer found; unknown codes are ignored."""
        with self._lock:
            self._state = self._without(self._state, codes)

    def save(self, directory: Path) -> None:
        """Write the main part; what was added or removed since is a view on the log, and not saved."""
        faiss.write_index(self._main, str(directory / INDEX_FILE))
        np.save(directory / CODES_FILE, self._codes, allow_pickle=False)
        (directory / SETTINGS_FILE).write_text(json.dumps({"probes": self._probes}), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path, vectors: Vectors | None = None) -> ItemIndex:
        """The files are mapped, not read: the workers of a home share them. They must stay as they are.

        Raises ArtifactError when a file is missing or damaged, or the files do not belong together.
        """
        try:
            main = faiss.read_index(str(directory / INDEX_FILE), faiss.IO_FLAG_MMAP_IFC)
            codes = np.load(directory / CODES_FILE, mmap_mode="r", allow_pickle=False)
            settings = json.loads((directory / SETTINGS_FILE).read_text(encoding="utf-8"))
            probes = int(settings["probes"])
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise ArtifactError(f"{directory}: no readable item index ({error}). Train again.") from error
        if main.ntotal != len(codes):
            raise ArtifactError(f"{directory}: the index has {main.ntotal} rows but {len(codes)} codes. Train again.")
        if (np.diff(codes) <= 0).any():
            raise ArtifactError(f"{directory / CODES_FILE}: the codes do not rise. Train again.")
        return cls(main, codes, probes, vectors)

    def share(self, low: int, high: int, vectors: Vectors | None = None) -> ItemIndex:
        """The main part's items low .. high - 1, as items 0 and on; it finds what the whole would find of them.

        Cells stay where they are, and as many are searched. ``vectors`` are of these items.
        """
        first, last = np.searchsorted(self._codes, [low, high]).tolist()
        main = _flat_rows(self._main, first, last) if not self._probes else _cell_rows(self._main, first, last)
        return ItemIndex(main, self._codes[first:last] - low, self._probes, vectors)

    def _search_main(self, queries: Float32, k: int, state: _State) -> UInt64:
        k = min(k if self._vectors is None else k + k // SPARE, len(self._codes))
        if k == 0:
            return np.empty((len(queries), 0), np.uint64)
        scores, rows = self._main.search(queries, k, params=state.search)
        if self._vectors is not None:
            scores = np.matmul(self._vectors[self._codes[rows]], queries[:, :, None])[:, :, 0]
        return _keys(rows, scores, self._codes)

    def _without(self, state: _State, codes: Int32) -> _State:
        rows = self._rows(codes)
        rows = rows[state.alive[rows]]
        fresh = state.fresh
        if state.added:
            fresh = fresh & ~np.isin(state.codes[: state.added], codes)
        if not len(rows):
            return replace(state, fresh=fresh)
        alive = state.alive.copy()
        alive[rows] = False
        bitmap = np.packbits(alive, bitorder="little")
        search = _search_parameters(self._probes, bitmap)
        dead = state.dead + len(np.unique(rows))
        return replace(state, alive=alive, dead=dead, search=search, bitmap=bitmap, fresh=fresh)

    def _rows(self, codes: Int32) -> Int64:
        """Rows of the main part that hold these codes."""
        if not len(self._codes):
            return np.empty(0, np.int64)
        rows: Int64 = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        found: Int64 = rows[self._codes[rows] == codes]
        return found


def _flat_rows(main: Any, first: int, last: int) -> Any:
    rows = faiss.IndexFlatIP(main.d)
    if last > first:
        rows.add(main.reconstruct_n(first, last - first))
    return rows


def _cell_rows(main: Any, first: int, last: int) -> Any:
    """Rows first .. last - 1 of an inverted file, numbered from 0, in the cells that they are in."""
    cells = faiss.clone_index(main.quantizer)
    rows = faiss.IndexIVFScalarQuantizer(cells, main.d, main.nlist, main.sq.qtype, main.metric_type, main.by_residual)
    cells.this.disown()
    rows.own_fields, rows.sq, rows.is_trained = True, main.sq, True
    main.copy_subset_to(rows, faiss.InvertedLists.SUBSET_TYPE_ID_RANGE, first, last)
    for cell in range(rows.nlist):
        size = rows.invlists.list_size(cell)
        if size:
            ids = faiss.rev_swig_ptr(rows.invlists.get_ids(cell), size)
            ids -= first
    return rows


def _search_parameters(probes: int, bitmap: UInt8 | None) -> Any:
    """How the main part is searched; who keeps them must keep the bitmap, too."""
    selector = None if bitmap is None else faiss.IDSelectorBitmap(bitmap)
    if probes:
        return faiss.SearchParametersIVF(sel=selector, nprobe=probes)
    return None if selector is None else faiss.SearchParameters(sel=selector)


@compiled(
    "uint64[:, ::1](Array(int64, 2, 'A', readonly=True), Array(float32, 2, 'A', readonly=True),"
    "Array(int32, 1, 'C', readonly=True))"
)
def _keys(rows: Any, scores: Any, codes: Any) -> Any:
    """A number ``[B, n]`` a hit that sorts by falling score, then by code: several times faster than a lexsort.

    ``rows [B, n]`` are places in ``codes``, -1 = no hit: such sort last, behind scores of -inf.
    """
    keys = np.empty(rows.shape, np.uint64)
    score = np.empty(1, np.float32)
    bits = score.view(np.uint32)
    for query in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            row = rows[query, place]
            score[0] = scores[query, place] if row >= 0 else -np.inf
            code = codes[row] if row >= 0 else NO_ITEM
            falling = bits[0] if bits[0] >> 31 else ~bits[0] & np.uint32(0x7FFFFFFF)  # IEEE 754 order, reversed
            keys[query, place] = np.uint64(falling) << np.uint64(32) | np.uint64(np.uint32(code))
    return keys


@compiled("Tuple((int32[:, ::1], float32[:, ::1]))(uint64[:, ::1], int64)")
def _hits(keys: Any, k: int) -> Any:
    """Codes and scores ``[B, k]`` of the first k of the sorted ``keys [B, n]``, padded with -1 and -inf."""
    codes, scores = np.full((len(keys), k), NO_ITEM, np.int32), np.full((len(keys), k), -np.inf, np.float32)
    bits = scores.view(np.uint32)
    for query in range(len(keys)):
        for place in range(min(k, keys.shape[1])):
            falling = np.uint32(keys[query, place] >> np.uint64(32))
            bits[query, place] = falling if falling >> 31 else ~falling & np.uint32(0x7FFFFFFF)
            codes[query, place] = np.int32(np.uint32(keys[query, place]))
    return codes, scores


def _grown(state: _State, needed: int) -> _State:
    """The same state with room for ``needed`` rows in the dynamic part; capacity doubles."""
    capacity = len(state.codes)
    if needed <= capacity:
        return state
    extra = max(needed, 2 * capacity, 64) - capacity
    vectors = np.concatenate([state.vectors, np.zeros((extra, state.vectors.shape[1]), np.float32)])
    return replace(state, vectors=vectors, codes=np.concatenate([state.codes, np.zeros(extra, np.int32)]))


def layout(n: int, exact_below: int = EXACT_BELOW) -> tuple[int, int]:
    """Cells of an index of n vectors, and how many of them a search reads at least; (0, 0) where it reads everything.

    Cells are about two square roots of n, as a power of two.
    """
    if n < exact_below:
        return 0, 0
    cells = int(2 ** round(np.log2(2 * np.sqrt(max(n, 1)))))
    return cells, max(32, cells // 64)


def _inverted_file(n: int, read: Callable[[Int64], Float32], size: int, cells: int) -> Any:
    """A trained inverted file of 8-bit codes.

    Cells are found exactly: a graph over them (HNSW) took as long to find 8,192 well enough, and lost whole queries.
    """
    index = faiss.index_factory(size, f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = SWEEPS
    index.cp.seed = SEED
    rows = np.random.default_rng(SEED).choice(n, min(n, SAMPLE * cells), replace=False)
    index.train(np.ascontiguousarray(read(np.sort(rows)), np.float32))
    return index


def _enough(index: Any, queries: Float32, probes: int) -> int:
    """The cells to search, from ``probes`` on by halves more: towers little trained put users far from their items."""
    k = min(BEST, max(1, index.ntotal // 10))
    best = index.search(queries, k, params=faiss.SearchParametersIVF(nprobe=index.nlist))[1]
    most = min(MOST * probes, int(index.nlist))
    while probes < most:
        found = index.search(queries, k, params=faiss.SearchParametersIVF(nprobe=probes))[1]
        same = sum(len(np.intersect1d(mine, all_)) for mine, all_ in zip(found, best, strict=True))
        if same >= ENOUGH * best.size:
            break
        probes = min(probes + (probes + 1) // 2, most)
    return probes
