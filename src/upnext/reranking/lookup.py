"""Reading views by item code, and asking whether a code is in its request's list: vectorised over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from upnext.compiled import compiled
from upnext.types import Bool, Int32, Int64, Ragged

T = TypeVar("T", bound=np.generic)


def gather(column: NDArray[T], item: Int32, missing: object) -> NDArray[T]:
    """``column[item]``, and ``missing`` for the codes that the column, a view that may be older, does not reach."""
    known = (item >= 0) & (item < len(column))
    if known.all():
        return column[item]
    found = np.full((len(item), *column.shape[1:]), missing, column.dtype)
    found[known] = column[item[known]]
    return found


def ragged(lists: Sequence[Int32]) -> Ragged:
    """One array of codes a request, joined."""
    if not lists:
        return Ragged.empty(0)
    sizes = [len(codes) for codes in lists]
    return Ragged(np.concatenate(lists).astype(np.int32, copy=False), np.cumsum([0, *sizes], dtype=np.int64))


def in_lists(request: Int64, code: Int32, lists: Ragged) -> Bool:
    """Whether each row's code (-1 = none) is in the list of its own request, ``[N]``; lists need no order."""
    found = np.zeros(len(code), np.bool_)
    if len(lists.item):
        rows, codes = np.ascontiguousarray(request, np.int64), np.ascontiguousarray(code, np.int32)
        listed, offsets = np.ascontiguousarray(lists.item, np.int32), np.ascontiguousarray(lists.offsets, np.int64)
        _mark(rows, codes, listed, offsets, found)
    return found


EMPTY = -1
SPREAD = 2654435761  # Knuth's multiplier: neighbouring codes go to places far apart


@compiled("void(int64[::1], int32[::1], int32[::1], int64[::1], bool_[::1])")
def _mark(request: Int64, code: Int32, listed: Int32, offsets: Int64, found: Bool) -> None:
    """``found[n]`` becomes whether ``code[n]`` is in ``listed[offsets[r]:offsets[r + 1]]``, r being ``request[n]``.

    A hash table a run of rows of one request, at most half full; a code goes to the next place that is free.
    """
    current, table, last = -1, np.empty(0, np.int32), 0
    for n in range(len(code)):
        if request[n] != current:
            current = request[n]
            mine = listed[offsets[current] : offsets[current + 1]]
            size = 2
            while size < 2 * len(mine) + 2:
                size *= 2
            table, last = np.full(size, EMPTY, np.int32), size - 1
            for wanted in mine:
                place = wanted * SPREAD & last
                while table[place] != EMPTY and table[place] != wanted:
                    place = place + 1 & last
                table[place] = wanted
        if code[n] >= 0:
            place = code[n] * SPREAD & last
            while table[place] != EMPTY and table[place] != code[n]:
                place = place + 1 & last
            found[n] = table[place] == code[n]
