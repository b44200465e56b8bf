"""The ranker's per-item part: one vector an item, computed offline; new items are embedded from their content."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from upnext.errors import ArtifactError
from upnext.ranking.multi_task import ITEM_ENCODER_FILE, ITEM_VECTORS_FILE, open_session
from upnext.types import Column, Int32
from upnext.vectors import ItemTable, Vectors

ITEMS = 8192  # embedded at once


class ItemVectors:
    """Calling it gives the vectors of now; those of items never embedded are zeros."""

    def __init__(self, vectors: ItemTable, encoder: ort.InferenceSession) -> None:
        self._vectors, self._encoder = vectors, encoder
        self._lock = threading.Lock()

    @classmethod
    def load(cls, directory: Path, vectors: ItemTable | None = None) -> ItemVectors:
        """``vectors`` None = those of the directory. Raises ArtifactError when a file is missing or damaged."""
        try:
            vectors = Vectors.load(directory / ITEM_VECTORS_FILE) if vectors is None else vectors
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{directory}: no readable item vectors ({error}). Train again.") from error
        return cls(vectors, open_session(directory / ITEM_ENCODER_FILE))

    def __call__(self) -> ItemTable:
        return self._vectors

    def upsert(self, codes: Int32, content: Mapping[str, Column]) -> None:
        """Embed the items with these codes from their content columns (content.ItemContent)."""
        if not len(codes):
            return
        wanted = {entry.name for entry in self._encoder.get_inputs()}
        inputs = {name: column for name, column in content.items() if name in wanted}
        for first in range(0, len(codes), ITEMS):
            some = slice(first, first + ITEMS)
            embedded = self._encoder.run(None, {name: column[some] for name, column in inputs.items()})[0]
            with self._lock:
                self._vectors.put(codes[some], np.asarray(embedded, np.float32))
