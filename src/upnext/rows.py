"""Columns on disk that are mapped, not read: a start touches what it needs, and processes share the pages.

A mapping is copy on write: what is changed or added in it stays in this process's memory, and the file as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

T = TypeVar("T", bound=np.generic)

ROOM = 16  # a file has a sixteenth more rows than are in use, for what will be added


def write_rows(path: Path, dtype: DTypeLike, rows: int, *shape: int) -> NDArray[Any]:
    """A new file for ``rows`` rows of zeros, with room for more after them; the first ``rows``, to be written to."""
    room = rows // ROOM + 64
    file = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), (rows + room, *shape))
    return np.asarray(file)[:rows]


def mapped(path: Path) -> NDArray[Any]:
    """The array in an npy file, mapped. Raises OSError or ValueError where it is none."""
    return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))


def grown(column: NDArray[T], rows: int, fill: Any = 0) -> NDArray[T]:
    """The same column if it has so many rows, else a copy with room for more than that, ``fill`` in the new ones."""
    have = len(column)
    if rows <= have:
        return column
    bigger = np.zeros((max(rows, have + have // 8 + 64), *column.shape[1:]), column.dtype)
    bigger[:have] = column
    if fill != 0:
        bigger[have:] = fill
    return bigger
