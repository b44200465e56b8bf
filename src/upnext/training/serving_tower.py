"""The user tower as it is served: only the vector behind the last item, in a third of the operations.

A graph of one request costs as much as it has nodes, so what is constant then is worked out beforehand: products of
matrices that stand in a row, the distances to the last item, and one table for the hour of the week.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from upnext.training.user_tower import GAPS, HOUR_MS, THURSDAY, USER_SIZE, GatedAttention, UserTower

WEEK = 7 * 24  # hours
LONGEST = 1.5 * 2.0 ** (GAPS - 1)  # seconds, well inside the last octave


class LastAttention(nn.Module):
    """``GatedAttention`` for the last token alone: it compares and pools the tokens before they are projected.

    q . (K x) = (K'q) . x, and a weighted sum of V x is V times the sum: so no token but the last meets a matrix.
    The bias of the keys adds the same to every score, and falls out of the softmax.
    """

    distance: Tensor

    def __init__(self, block: GatedAttention) -> None:
        super().__init__()
        self.block, self.heads = block, block.heads
        self.size = size = block.out.in_features
        part = size // block.heads
        query, gate = block.query_gate.weight.detach().double().chunk(2)
        query_bias, gate_bias = block.query_gate.bias.detach().double().chunk(2)
        key, value = block.key_value.weight.detach().double().chunk(2)
        heads = [slice(head * part, (head + 1) * part) for head in range(block.heads)]
        compare = [key[rows].T @ torch.cat([query[rows], query_bias[rows, None]], 1) * part**-0.5 for rows in heads]
        ask = torch.cat([*compare, torch.cat([gate, gate_bias[:, None]], 1)])
        self.ask = _linear(ask[:, :size], ask[:, size])
        pool: Tensor = torch.block_diag(*(value[rows] for rows in heads))  # type: ignore[no-untyped-call]
        self.pool = _linear(pool, block.key_value.bias.detach()[size:])
        distances = torch.arange(block.window - 1, -1, -1)
        self.register_buffer("distance", block.distance.detach()[:, distances].T.contiguous())  # [T, heads]

    def forward(self, tokens: Tensor, read: Tensor, gaps: Tensor) -> Tensor:
        """``tokens [B, T, d]``, of which those with ``read [B, T]`` are attended to; ``gaps [B, T]`` in octaves."""
        size = self.size  # a number, where the shape of a tensor would be more nodes
        normed = self.block.norm(tokens)
        query, gate = self.ask(normed[:, -1]).split([self.heads * size, size], -1)
        bias = torch.where(read.unsqueeze(2), self.block.gap(gaps) + self.distance, -1e9)
        scores = query.reshape(-1, self.heads, size) @ normed.transpose(1, 2) + bias.transpose(1, 2)
        pooled = scores.softmax(-1) @ normed
        attended = self.pool(pooled.reshape(-1, self.heads * size))
        state = tokens[:, -1] + self.block.out(attended * functional.silu(gate))
        wide, gate = self.block.widen(self.block.norm_dense(state)).split(2 * size, -1)
        answer: Tensor = state + self.block.narrow(wide * functional.silu(gate))
        return answer


class ServingUserTower(nn.Module):
    """The user tower with its weights of now: one request a row."""

    week: Tensor
    attribute: Tensor
    last: Tensor

    def __init__(self, tower: UserTower) -> None:
        super().__init__()
        self.tower = tower
        self.block = None if tower.block is None else LastAttention(tower.block)
        hours = torch.arange(WEEK)
        self.register_buffer(
            "week", torch.cat([tower.hour.weight[hours % 24], tower.weekday.weight[hours // 24]], 1).detach()
        )
        known = torch.ones(len(tower.attribute.weight), 1)
        known[0] = 0
        self.register_buffer("attribute", torch.cat([tower.attribute.weight.detach(), known], 1))
        self.register_buffer("last", torch.arange(tower.window) == tower.window - 1)

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
        """Unit vectors ``[B, d]``; ``now`` and ``surface`` are ``[B]``, ``surface`` a vocabulary code.

        There are as many items, ``T``, as the tower's window is long. ``now`` is not before 1970.
        """
        tower = self.tower
        filled = weight > 0
        read = filled | self.last  # where nothing was watched, the last slot stands for that
        tokens = tower.enter(vectors) + torch.log1p(weight).unsqueeze(2) * tower.strength
        tokens = torch.where(filled.unsqueeze(2), tokens, tower.nothing)
        share = read.float()
        share = share / share.sum(1, keepdim=True)
        state = (share.unsqueeze(1) @ tokens)[:, 0]
        if self.block is not None:
            seconds = ((now.unsqueeze(1) - at) / 1000).clamp(0, LONGEST)
            state = state + self.block(tokens, read, torch.log2(1 + seconds).int())
        state = tower.norm(state)
        about, known = self.attribute[attributes].sum(1).split([USER_SIZE, 1], -1)  # type: ignore[no-untyped-call]
        hour = (torch.div(now, HOUR_MS, rounding_mode="trunc") + 24 * THURSDAY) % WEEK
        joined = [state, tower.user(user), about / known.clamp(min=1), self.week[hour], tower.surface(surface)]
        state = state + tower.dense(torch.cat(joined, -1))
        length = torch.linalg.vector_norm(state, dim=-1, keepdim=True)
        unit: Tensor = state / length.clamp(min=1e-12)
        return unit


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer
