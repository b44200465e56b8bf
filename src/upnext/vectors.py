"""Item vectors by code, two bytes a number: the published ones are mapped from their file, later ones are in memory.

Half precision moves a cosine by some 1e-5, and ten million vectors of 64 numbers take 1.3 GB instead of 2.6.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from upnext.compiled import compiled
from upnext.rows import grown, mapped
from upnext.types import Bool, Float32, Int32, Int64

UInt16 = NDArray[np.uint16]

LARGEST = 65504.0  # of half precision


class ItemTable(Protocol):
    """Vectors by code, wherever they lie: ``table[codes]`` are float32 ``[..., d]``, zeros for items that have none."""

    @property
    def size(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, codes: Int32 | Int64) -> Float32: ...

    def put(self, codes: Int32, vectors: Float32) -> None: ...


class Vectors:
    """``vectors[codes]`` are float32 ``[..., d]``, zeros for items that have none (-1, or beyond the end).

    One thread writes at a time; readers meet the old numbers of a vector or the new.
    """

    def __init__(self, vectors: NDArray[Any]) -> None:
        """``vectors [I, d]`` of items 0 .. I-1, as float16 (which is kept, not copied) or float32."""
        self._first = _halves(vectors)  # [I, d] half precision as bits: numba knows no float16
        self._later: UInt16 = np.zeros((0, vectors.shape[1]), np.uint16)  # from code I on, with room for more
        self._size = len(self._first)

    @classmethod
    def load(cls, path: Path) -> Vectors:
        """Map what ``save_vectors`` wrote. Raises OSError or ValueError where it is none."""
        vectors = mapped(path)
        if vectors.ndim != 2 or vectors.dtype not in (np.float16, np.float32):
            raise ValueError(f"{path.name} holds {vectors.dtype} {vectors.shape}, no item vectors")
        return cls(vectors)

    def share(self, low: int, high: int) -> Vectors:
        """A copy of the vectors of the items low .. high - 1, as those of items 0 and on."""
        return Vectors(self._first[low:high].copy().view(np.float16))

    def __len__(self) -> int:
        """One more than the last item that has a vector."""
        return self._size

    @property
    def size(self) -> int:
        """Numbers a vector."""
        return int(self._first.shape[1])

    def __getitem__(self, codes: Int32 | Int64) -> Float32:
        found = np.empty((*codes.shape, self.size), np.float32)
        _gather(self._first, self._later, codes.ravel().astype(np.int64), found.reshape(codes.size, self.size))
        return found

    def known(self, codes: Int32 | Int64) -> Bool:
        """Which of the items have a vector: one that is not all zeros."""
        known = np.empty(codes.shape, np.bool_)
        _known(self._first, self._later, codes.ravel().astype(np.int64), known.reshape(-1))
        return known

    def put(self, codes: Int32, vectors: Float32) -> None:
        """Set the vectors ``[n, d]`` of these items."""
        if not len(codes):
            return
        bits, first = _halves(vectors), len(self._first)
        self._later = grown(self._later, int(codes.max()) + 1 - first)
        early = codes < first
        self._first[codes[early]] = bits[early]
        self._later[codes[~early] - first] = bits[~early]
        self._size = max(self._size, int(codes.max()) + 1)


def save_vectors(path: Path, parts: Iterable[Float32], items: int, size: int) -> None:
    """Write the vectors of ``items`` items, given in their order in parts ``[n, size]``, in half precision.

    Raises ValueError when they are more or fewer.
    """
    file = np.lib.format.open_memmap(path, "w+", np.float16, (items, size)) if items else np.zeros((0, size), "f2")
    done = 0
    for part in parts:
        if done + len(part) > items:
            raise ValueError(f"{path.name}: vectors of more than {items} items")
        file[done : done + len(part)] = halved(part)
        done += len(part)
    if done != items:
        raise ValueError(f"{path.name}: vectors of {done} items instead of {items}")
    if not items:
        np.save(path, file, allow_pickle=False)


def halved(vectors: Float32) -> NDArray[np.float16]:
    """In half precision; what is too large becomes the largest."""
    return np.clip(vectors, -LARGEST, LARGEST).astype(np.float16)


def _halves(vectors: NDArray[Any]) -> UInt16:
    half = vectors if vectors.dtype == np.float16 else halved(vectors)
    return np.ascontiguousarray(half).view(np.uint16)


@compiled("void(uint16[:, ::1], uint16[:, ::1], int64[::1], float32[:, ::1])")
def _gather(first: UInt16, later: UInt16, codes: Int64, found: Float32) -> None:
    """Rows of ``first``, then of ``later``, as float32 into ``found [n, d]``; zeros for codes outside of both.

    Shifted by 13 bits a half's exponent and fraction are a float's, but for 112 in the exponent.
    """
    bits, scale = found.view(np.uint32), np.float32(2.0**112)
    for row in range(len(codes)):
        code = codes[row]
        if not 0 <= code < len(first) + len(later):
            bits[row] = 0
            continue
        halves = first[code] if code < len(first) else later[code - len(first)]
        for column in range(first.shape[1]):
            half = np.uint32(halves[column])
            sign, rest = half & np.uint32(0x8000), half & np.uint32(0x7FFF)
            bits[row, column] = sign << np.uint32(16) | rest << np.uint32(13)
        for column in range(found.shape[1]):
            found[row, column] *= scale


@compiled("void(uint16[:, ::1], uint16[:, ::1], int64[::1], boolean[::1])")
def _known(first: UInt16, later: UInt16, codes: Int64, known: Bool) -> None:
    """Whether the row of ``first``, then of ``later``, has a number other than zero."""
    for row in range(len(codes)):
        code = codes[row]
        known[row] = False
        if 0 <= code < len(first) + len(later):
            for half in first[code] if code < len(first) else later[code - len(first)]:
                if half & 0x7FFF:  # the first bit is the sign
                    known[row] = True
                    break
