"""Are two live states the same, to the bit? What a snapshot, a restart and a crash must not change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upnext.live import Live


def differences(one: Live, other: Live, now: int) -> list[str]:
    """What differs once both have counted everything received before ``now`` (ms); nothing when they are equal."""
    for live in (one, other):
        live.state.advance(now)
    return list(_differences(one, other))


def _differences(one: Live, other: Live) -> Iterator[str]:
    if one.offset != other.offset:
        yield f"offset: {one.offset} and {other.offset}"
    if one.latest != other.latest:
        yield f"latest: {one.latest} and {other.latest}"
    ours, theirs = one.state.dump(), other.state.dump()
    for name in sorted(ours.keys() | theirs.keys()):
        column, expected = ours.get(name), theirs.get(name)
        if column is None or expected is None:
            yield f"{name}: only in one of them"
            continue
        size = max(len(column), len(expected))
        first, second = (_padded(part, size) for part in (column, expected))  # room to grow is no difference
        if not np.array_equal(first, second, equal_nan=first.dtype.kind == "f"):
            yield f"{name}: {int((first != second).sum())} of {first.size} numbers"


def _padded(column: NDArray[Any], size: int) -> NDArray[Any]:
    return np.pad(column, [(0, size - len(column))] + [(0, 0)] * (column.ndim - 1))
