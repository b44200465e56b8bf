"""The ranker's per-item part: one vector an item, computed offline; new items are embedded from their content."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from upnext.errors import ArtifactError
from upnext.ranking.multi_task import ITEM_ENCODER_FILE, ITEM_VECTORS_FILE, open_session
from upnext.types import Column, Float32, Int32


class ItemVectors:
    """Calling it gives the vectors ``[I, d]`` of now; rows of items never embedded are zeros."""

    def __init__(self, vectors: Float32, encoder: ort.InferenceSession) -> None:
        self._vectors, self._encoder = vectors, encoder
        self._lock = threading.Lock()

    @classmethod
    def load(cls, directory: Path) -> ItemVectors:
        """Raises ArtifactError when a file is missing or damaged."""
        try:
            vectors = np.load(directory / ITEM_VECTORS_FILE, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{directory}: no readable item vectors ({error}). Train again.") from error
        return cls(vectors, open_session(directory / ITEM_ENCODER_FILE))

    def __call__(self) -> Float32:
        return self._vectors

    def upsert(self, codes: Int32, content: Mapping[str, Column]) -> None:
        """Embed the items with these codes from their content columns (content.ItemContent)."""
        if not len(codes):
            return
        wanted = {entry.name for entry in self._encoder.get_inputs()}
        inputs = {name: column for name, column in content.items() if name in wanted}
        embedded = np.asarray(self._encoder.run(None, inputs)[0], np.float32)
        with self._lock:
            size = int(codes.max()) + 1
            if size > len(self._vectors):
                grown = np.zeros((max(size, 2 * len(self._vectors)), self._vectors.shape[1]), np.float32)
                grown[: len(self._vectors)] = self._vectors
                self._vectors = grown
            self._vectors[codes] = embedded
