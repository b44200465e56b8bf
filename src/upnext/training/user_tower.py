"""The user tower: who asks, what they watched, and when and where they ask -> one vector.

It answers every position of a sequence at once, as training needs it; serving_tower answers the last one alone.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from upnext.content import Vocabulary
from upnext.training.quick_gradients import of_small_table

GAPS = 32  # octaves of seconds between an item and the request
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
THURSDAY = 3  # the first day of Unix time, Monday = 0
USER_SIZE, CONTEXT_SIZE = 32, 8


class GatedAttention(nn.Module):
    """One causal block: attention with biases for distance and elapsed time, gated; then a gated dense layer.

    After Kang, McAuley: SASRec, ICDM 2018; time and gates after Zhai et al.: HSTU, ICML 2024.
    """

    def __init__(self, size: int, window: int, dropout: float, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm, self.norm_dense = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query_gate, self.key_value = nn.Linear(size, 2 * size), nn.Linear(size, 2 * size)
        self.out = nn.Linear(size, size)
        self.widen, self.narrow = nn.Linear(size, 4 * size), nn.Linear(2 * size, size)
        self.distance = nn.Parameter(torch.zeros(heads, window + 1))
        self.gap = nn.Embedding(GAPS, heads)
        nn.init.zeros_(self.gap.weight)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor, gaps: Tensor, distance: Tensor) -> Tensor:
        """``tokens [B, T, d]``; mask and gaps ``[B, Q, T]`` and distance ``[Q, T]`` of the last Q tokens."""
        batch, length, size = tokens.shape
        queries = mask.shape[1]
        normed = self.norm(tokens)
        query, gate = self.query_gate(normed[:, length - queries :]).chunk(2, -1)
        key, value = self.key_value(normed).chunk(2, -1)
        query, key, value = (
            part.reshape(batch, -1, self.heads, size // self.heads).transpose(1, 2) for part in (query, key, value)
        )
        bias = self.distance[:, distance] + of_small_table(self.gap.weight, gaps).permute(0, 3, 1, 2)
        scores = query @ key.transpose(2, 3) * (size // self.heads) ** -0.5 + bias
        weights = scores.masked_fill(~mask.unsqueeze(1), -1e9).softmax(-1)
        attended = (weights @ value).transpose(1, 2).reshape(batch, queries, size)
        state = tokens[:, length - queries :] + self.dropout(self.out(attended * functional.silu(gate)))
        wide, gate = self.widen(self.norm_dense(state)).chunk(2, -1)
        answer: Tensor = state + self.dropout(self.narrow(wide * functional.silu(gate)))
        return answer


class UserTower(nn.Module):
    """Unit user vectors ``[B, Q, d]`` for the last Q positions of each history."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        size: int,
        window: int,
        encoder: Literal["average", "transformer"],
        dropout: float,
        user_dropout: float,
    ) -> None:
        super().__init__()
        self.window, self.user_dropout = window, user_dropout
        self.enter = nn.Linear(size, size)
        self.nothing = nn.Parameter(torch.randn(size) * size**-0.5)
        self.strength = nn.Parameter(torch.zeros(size))
        self.dropout = nn.Dropout(dropout)
        self.block = GatedAttention(size, window, dropout) if encoder == "transformer" else None
        self.user = nn.Embedding(len(vocabulary.users) + 1, USER_SIZE, padding_idx=0)
        self.attribute = nn.Embedding(len(vocabulary.attribute) + 1, USER_SIZE, padding_idx=0)
        self.hour, self.weekday = nn.Embedding(24, CONTEXT_SIZE), nn.Embedding(7, CONTEXT_SIZE)
        self.surface = nn.Embedding(len(vocabulary.surface) + 1, CONTEXT_SIZE)
        for table in (self.user, self.attribute, self.hour, self.weekday, self.surface):
            nn.init.normal_(table.weight, std=0.1)
        with torch.no_grad():
            self.user.weight[0] = 0
            self.attribute.weight[0] = 0
        wide = size + 2 * USER_SIZE + 3 * CONTEXT_SIZE
        self.dense = nn.Sequential(nn.Linear(wide, 2 * size), nn.GELU(), nn.Linear(2 * size, size))
        self.norm = nn.LayerNorm(size)

    def forward(
        self,
        user: Tensor,
        vectors: Tensor,
        weight: Tensor,
        at: Tensor,
        now: Tensor,
        attributes: Tensor,
        surface: Tensor,
    ) -> Tensor:
        """``user [B]``, ``vectors [B, T, d]``, ``weight``, ``at`` ``[B, T]``, ``attributes [B, A]``.

        ``now`` and ``surface`` are ``[B, Q]``; query q stands behind item T - Q + q. Slots of weight 0 are empty.
        """
        length, queries = vectors.shape[1], now.shape[1]
        filled = weight > 0
        tokens = self.enter(vectors) + torch.log1p(weight).unsqueeze(-1) * self.strength
        tokens = self.dropout(torch.where(filled.unsqueeze(-1), tokens, self.nothing))
        place = torch.arange(length, device=vectors.device)
        distance = place[length - queries :, None] - place[None, :]
        near = (distance >= 0) & (distance < self.window)
        itself = distance == 0
        mask = (near & filled.unsqueeze(1)) | itself  # an empty slot sees itself: the start of a history
        state = (mask / mask.sum(-1, keepdim=True)) @ tokens  # the average; the block adds what order and time tell
        if self.block is not None:
            seconds = ((now.unsqueeze(2) - at.unsqueeze(1)) / 1000).clamp(min=0).float()
            gaps = torch.log2(1 + seconds).int().clamp(max=GAPS - 1)
            state = state + self.block(tokens, mask, gaps, distance.clamp(0, self.window))
        shape = (user.shape[0], queries, -1)
        who = torch.cat([self._user(user), self._attributes(attributes)], -1).unsqueeze(1).expand(shape)
        hour = torch.div(now, HOUR_MS, rounding_mode="floor") % 24
        weekday = (torch.div(now, DAY_MS, rounding_mode="floor") + THURSDAY) % 7
        context = torch.cat([self.hour(hour), self.weekday(weekday), self.surface(surface)], -1)
        state = self.norm(state)
        joined = torch.cat([state, self.dropout(who), context], -1)
        return functional.normalize(state + self.dense(joined), dim=-1)

    def _user(self, user: Tensor) -> Tensor:
        if self.training and self.user_dropout > 0:
            user = user * (torch.rand(user.shape, device=user.device) >= self.user_dropout)
        embedded: Tensor = self.user(user)
        return embedded

    def _attributes(self, attributes: Tensor) -> Tensor:
        counts = (attributes > 0).sum(1, keepdim=True).clamp(min=1)
        mean: Tensor = self.attribute(attributes).sum(1) / counts
        return mean
