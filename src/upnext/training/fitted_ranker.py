"""A trained ranker as it leaves training: what serving reads, and the weights that a later training goes on from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from upnext.content import ItemContent
from upnext.ranking.multi_task import ITEM_ENCODER_FILE, ITEM_VECTORS_FILE, SCORER_FILE, RankerSpec
from upnext.training.export import export_onnx
from upnext.training.item_encoder import ItemEncoder, content_tensors
from upnext.training.ranker_network import RankerNetwork
from upnext.training.weights import save_weights
from upnext.types import Float32
from upnext.vectors import Vectors, save_vectors

ITEMS_AT_ONCE = 8192


@dataclass(frozen=True)
class FittedRanker:
    """The trained network with its item encoder, and how the training went."""

    spec: RankerSpec
    network: RankerNetwork
    encoder: ItemEncoder
    content: ItemContent
    curve: list[dict[str, float]]

    def save(self, directory: Path) -> None:
        """Write scorer, item encoder, item vectors, spec and weights.

        Raises ArtifactError if an export is not faithful.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.spec.save(directory)
        save_weights(directory, network=self.network, encoder=self.encoder)
        save_vectors(directory / ITEM_VECTORS_FILE, self._vectors(), len(self.content), self.encoder.id.embedding_dim)
        few = self.content.take(slice(0, 3))
        columns = dict(zip(few.columns(), content_tensors(few), strict=True))
        export_onnx(
            self.encoder, columns, ["vector"], {name: {0: "n"} for name in columns}, directory / ITEM_ENCODER_FILE
        )
        self._export_scorer(Vectors.load(directory / ITEM_VECTORS_FILE), directory / SCORER_FILE)

    @torch.no_grad()
    def _vectors(self) -> Iterator[Float32]:
        """Of all items, in parts."""
        self.encoder.eval()
        for first in range(0, len(self.content), ITEMS_AT_ONCE):
            yield self.encoder(*content_tensors(self.content.take(slice(first, first + ITEMS_AT_ONCE)))).numpy()

    def _export_scorer(self, vectors: Vectors, path: Path) -> None:
        size, length, shared = vectors.size, self.spec.history_size, self.spec.request_features
        random = torch.Generator().manual_seed(0)
        inputs = {
            "features": torch.randn(3, len(self.spec.feature_names) - shared, generator=random),
            "item": torch.from_numpy(vectors[np.arange(3) % max(len(vectors), 1)]),
            "request": torch.randn(1, shared, generator=random),
            "history": torch.randn(1, length, size, generator=random),
            "known": torch.ones(1, length),
            "actions": torch.ones(1, length),
            "value": torch.ones(1, length),
            "age": torch.ones(1, length),
            "user": torch.zeros(1, dtype=torch.int64),
            "attribute": torch.zeros(1, 2, dtype=torch.int64),
            "surface": torch.zeros(1, dtype=torch.int64),
        }
        dynamic = {
            **{name: {0: "n"} for name in ("features", "item", "predictions")},
            **{name: {1: "l"} for name in ("history", "known", "actions", "value", "age")},
            "attribute": {1: "a"},
        }
        export_onnx(self.network, inputs, ["predictions"], dynamic, path)
