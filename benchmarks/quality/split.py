"""One way of dividing a data set: what models are fitted on, what is known when they are asked, what comes next.

Plain numpy arrays in one npz file, so that the peers read the very same split in an environment of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Lists:
    """Row u holds ``item[offsets[u]:offsets[u + 1]]``."""

    offsets: Int64  # [rows + 1]
    item: Int32

    @classmethod
    def of(cls, rows: list[list[int]]) -> Lists:
        flat = [item for row in rows for item in row]
        return cls(np.cumsum([0, *map(len, rows)], dtype=np.int64), np.array(flat, np.int32))

    @classmethod
    def grouped(cls, row: NDArray[Any], item: NDArray[Any], rows: int) -> Lists:
        """Pairs (row, item), in any order of rows; within a row the order stays."""
        order = np.argsort(row, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))]).astype(np.int64)
        return cls(offsets, item[order].astype(np.int32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Int32:
        return self.item[self.offsets[row] : self.offsets[row + 1]]

    @property
    def sizes(self) -> Int64:
        return np.diff(self.offsets)

    @property
    def row(self) -> Int64:
        """The row of every entry."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.sizes)

    def take(self, rows: Int64) -> Lists:
        return Lists.of([self[row].tolist() for row in rows.tolist()])

    def only(self, keep: Bool) -> Lists:
        """The entries of a mask; rows may become empty."""
        counted = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
        return Lists(counted[self.offsets], self.item[keep])


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """All lists have a row a user. A user without ``truth`` is not asked for.

    ``fit_at`` are the times (Unix ms) of the entries of ``fit``; empty where the data has none.
    """

    users: NDArray[np.str_]  # [U] names
    items: NDArray[np.str_]  # [I] names: the whole catalogue
    fit: Lists  # oldest first where there is an order
    fit_at: Int64
    history: Lists  # when asked: what is not to be recommended again
    truth: Lists
    attributes: Lists  # a row an item
    ordered: bool  # whether the lists are in the order in which it happened
    now: int  # Unix ms when asked; 0 where the data has no times

    @property
    def asked(self) -> Int64:
        """The users with a truth."""
        return np.flatnonzero(self.truth.sizes > 0)

    @property
    def cold_items(self) -> Bool:
        """[I] items that nobody turned to in ``fit``."""
        cold = np.ones(len(self.items), np.bool_)
        cold[self.fit.item] = False
        return cold

    @property
    def cold_users(self) -> Bool:
        """[U] users without any history."""
        return np.asarray(self.history.sizes == 0)

    def with_truth(self, keep: Bool) -> Split:
        return replace(self, truth=self.truth.only(keep))

    def save(self, path: Path) -> None:
        arrays: dict[str, NDArray[Any]] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Lists):
                arrays |= {f"{field.name}.offsets": value.offsets, f"{field.name}.item": value.item}
            else:
                arrays[field.name] = np.asarray(value)
        np.savez(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Split:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        lists = {
            name: Lists(arrays[f"{name}.offsets"], arrays[f"{name}.item"])
            for name in ("fit", "history", "truth", "attributes")
        }
        return cls(
            users=arrays["users"],
            items=arrays["items"],
            fit_at=arrays["fit_at"],
            ordered=bool(arrays["ordered"]),
            now=int(arrays["now"]),
            **lists,
        )


@dataclass(frozen=True, slots=True)
class Splits:
    """``validation`` is for choosing settings: nothing in it was taken from the truth of ``test``."""

    test: Split
    validation: Split
