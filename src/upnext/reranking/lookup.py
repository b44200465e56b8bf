"""Reading views by item code, and asking whether a code is in its request's list: vectorised over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from upnext.types import Bool, Int32, Int64, Ragged, ragged_rows

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
    if len(lists.item) == 0:
        return np.zeros(len(code), np.bool_)
    keys = (ragged_rows(lists.offsets) << 32) + lists.item
    keys.sort(kind="stable")  # no work where the lists are sorted already
    wanted = (request << 32) + code
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.asarray((keys[at] == wanted) & (code >= 0))
