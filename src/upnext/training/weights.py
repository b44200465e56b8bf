"""The parameters of trained networks as numpy files, so that a later training can go on from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from upnext.errors import ArtifactError
from upnext.types import Int64

WEIGHTS_FILE = "weights.npz"

# Embedding tables, by their name in a network -> the field of the vocabulary that their rows stand for.
TABLES = {
    "id": "items",
    "title": "title",
    "category": "category",
    "author": "author",
    "user": "users",
    "attribute": "attribute",
    "surface": "surface",
}


def save_weights(directory: Path, **modules: nn.Module) -> None:
    """Write every parameter and buffer of the modules, as float32 or integer arrays."""
    arrays = {f"{name}.{key}": value.numpy() for name, m in modules.items() for key, value in m.state_dict().items()}
    np.savez(directory / WEIGHTS_FILE, allow_pickle=False, **arrays)


@dataclass(frozen=True)
class Weights:
    """Stored parameters, and where the rows of each table go in a vocabulary that has grown since."""

    directory: Path
    arrays: Mapping[str, NDArray[Any]]
    rows: Mapping[str, Int64]  # content.moved_rows

    @classmethod
    def load(cls, directory: Path, rows: Mapping[str, Int64]) -> Weights:
        """Raises ArtifactError when there are none, or the file is damaged."""
        path = directory / WEIGHTS_FILE
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return cls(directory, dict(stored), rows)
        except (OSError, ValueError, BadZipFile) as error:
            raise ArtifactError(f"{path}: no weights to go on from ({error}). Run `upnext train`, in full.") from error

    def into(self, name: str, module: nn.Module) -> None:
        """Overwrite the module's parameters; rows that the stored tables lack become zeros, as if unknown.

        Raises ArtifactError that names the first parameter that does not fit.
        """
        state = {}
        for key, mine in module.state_dict().items():
            stored = self.arrays.get(f"{name}.{key}")
            if stored is not None and (field := _field(key)) is not None:
                stored = _spread(stored, self.rows[field], len(mine))
            if stored is None or stored.shape != tuple(mine.shape):
                found = "missing" if stored is None else f"of shape {stored.shape}"
                raise ArtifactError(
                    f"{self.directory}: {name}.{key} is {found}, but {tuple(mine.shape)} is needed now. "
                    "Run `upnext train`, in full."
                )
            state[key] = torch.from_numpy(stored.copy())
        module.load_state_dict(state)


def _field(key: str) -> str | None:
    *_, table, last = ("", *key.split("."))
    return TABLES.get(table) if last == "weight" else None


def _spread(stored: NDArray[Any], rows: Int64, size: int) -> NDArray[Any]:
    spread = np.zeros((size, *stored.shape[1:]), stored.dtype)
    if len(rows) == len(stored) and rows.max(initial=0) < size:
        spread[rows] = stored
        return spread
    return stored  # of another vocabulary: the caller finds that the shapes differ
