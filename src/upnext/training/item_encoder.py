"""An item from its content: the sum of what is known of it, then a small residual network.

Shared by the item tower and the ranker. Hiding the id now and then makes content alone place an item sensibly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from upnext.content import DURATION_BUCKETS, ItemContent, Vocabulary


class ItemEncoder(nn.Module):
    """Item content -> ``[n, output]``; the arguments of ``forward`` are the columns of ItemContent, in order."""

    def __init__(self, vocabulary: Vocabulary, output: int, id_dropout: float) -> None:
        super().__init__()
        self.id_dropout = id_dropout
        self.id = nn.Embedding(len(vocabulary.items) + 1, output, padding_idx=0)
        self.title = nn.Embedding(len(vocabulary.title) + 1, output, padding_idx=0)
        self.category = nn.Embedding(len(vocabulary.category) + 1, output, padding_idx=0)
        self.author = nn.Embedding(len(vocabulary.author) + 1, output, padding_idx=0)
        self.duration = nn.Embedding(DURATION_BUCKETS, output, padding_idx=0)
        self.vector = nn.Linear(vocabulary.vector_size, output) if vocabulary.vector_size else None
        self.residual = nn.Sequential(
            nn.LayerNorm(output), nn.Linear(output, 2 * output), nn.GELU(), nn.Linear(2 * output, output)
        )
        for table in (self.id, self.title, self.category, self.author, self.duration):
            nn.init.normal_(table.weight, std=output**-0.5)
            with torch.no_grad():
                table.weight[0] = 0

    def forward(
        self,
        id: Tensor,
        title: Tensor,
        category: Tensor,
        author: Tensor,
        duration: Tensor,
        vector: Tensor,
        has_vector: Tensor,
    ) -> Tensor:
        if self.training and self.id_dropout > 0:
            id = id * (torch.rand(id.shape, device=id.device) >= self.id_dropout)
        total = self.id(id) + self.author(author) + self.duration(duration)
        total = total + self._mean(self.title, title) + self._mean(self.category, category)
        if self.vector is not None:
            total = total + self.vector(vector) * has_vector.unsqueeze(-1)
        encoded: Tensor = total + self.residual(total)
        return encoded

    def _mean(self, table: nn.Embedding, codes: Tensor) -> Tensor:
        """Mean embedding of the codes above 0 of every row; zeros where there is none."""
        if not torch.onnx.is_in_onnx_export():  # the same without holding every word's vector
            return functional.embedding_bag(codes, table.weight, mode="mean", padding_idx=0)
        counts = (codes > 0).sum(1, keepdim=True).clamp(min=1)
        mean: Tensor = table(codes).sum(1) / counts
        return mean


def content_tensors(content: ItemContent) -> tuple[Tensor, ...]:
    """The columns of ItemContent as tensors: the arguments of an item encoder."""
    return tuple(torch.from_numpy(column) for column in content.columns().values())


class ItemTower(nn.Module):
    """Item content -> unit vectors ``[n, output]``."""

    def __init__(self, encoder: ItemEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *content: Tensor) -> Tensor:
        return functional.normalize(self.encoder(*content), dim=-1)
