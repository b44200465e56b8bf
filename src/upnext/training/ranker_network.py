"""The multi-task network: attention from the candidate to the history, a mixture of experts, a head a task.

MMoE: Ma et al., KDD 2018. Position beside the network: Zhao et al., RecSys 2019. Attention to the history: Zhou et
al. (DIN), KDD 2018, with dot products for speed. The part of the first layer that reads the user is computed once a
request, and with it the features that are the same for all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from upnext.types import Float32

POSITIONS = 32
CLIP = 6.0


class RankerNetwork(nn.Module):
    """Scores N rows of B requests. Shapes: d = item vector size, L = history tokens, F = features.

    The first R features are the same for all rows of a request.
    """

    mean: Tensor
    scale: Tensor
    powers: Tensor
    embedded: Tensor
    platt: Tensor

    def __init__(
        self,
        features: int,
        request_features: int,
        item_size: int,
        attributes: int,
        surfaces: int,
        users: int,
        actions: int,
        binary_tasks: Sequence[str],
        seconds_tasks: Sequence[str],
        edges: Sequence[Float32],
        experts: int,
        expert_sizes: tuple[int, ...],
        heads: int,
        dropout: float,
        id_dropout: float,
        user_size: int = 16,
        embedded: bool = True,
    ) -> None:
        """``edges[s]`` are the bin edges in seconds of task s, from 0 to its cap.

        Not ``embedded``, it judges by the features alone: whatever is learned of items and users as such counts 0.
        """
        super().__init__()
        tasks = len(binary_tasks) + len(seconds_tasks)
        inner = max(heads, item_size // heads * heads)
        self.heads, self.tasks, self.experts, self.id_dropout = heads, tasks, experts, id_dropout
        self.binary, self.seconds, self.request_features = len(binary_tasks), len(seconds_tasks), request_features
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("powers", 2.0 ** torch.arange(actions))
        self.token = nn.Linear(item_size + actions + 2, inner)
        self.query = nn.Linear(item_size, inner)
        self.key = nn.Linear(inner, inner)
        self.content = nn.Linear(inner, inner)
        self.candidate = nn.Linear(item_size, inner)
        self.user = nn.Embedding(users + 1, user_size, padding_idx=0)
        self.attribute = nn.Embedding(attributes + 1, user_size, padding_idx=0)
        self.surface = nn.Embedding(surfaces + 1, user_size)
        for table in (self.user, self.attribute, self.surface):
            nn.init.normal_(table.weight, std=0.05)
        hidden = expert_sizes[0]
        self.dropout = nn.Dropout(dropout)
        outputs = experts * hidden + tasks * experts
        self.of_row = nn.Linear(features - request_features + 3 * inner, outputs)
        self.of_request = nn.Linear(request_features + inner + 3 * user_size, outputs, bias=False)
        self.deeper = nn.ParameterList(
            nn.Parameter(torch.randn(experts, a, b) * (2 / a) ** 0.5) for a, b in pairwise(expert_sizes)
        )
        sizes = [1] * self.binary + [len(edge) - 1 for edge in edges]
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(expert_sizes[-1], 32), nn.ReLU(), nn.Linear(32, size)) for size in sizes
        )
        self.hidden = hidden
        # One logit a position and task, learned beside the network; row 0 = unknown position, kept at 0.
        self.position = nn.Embedding(POSITIONS + 1, tasks, padding_idx=0)
        nn.init.zeros_(self.position.weight)
        self.register_buffer("embedded", torch.tensor(float(embedded)))
        self.register_buffer("platt", torch.tensor([[1.0, 0.0]] * max(self.binary, 1)))
        for s, edge in enumerate(edges):
            self.register_buffer(f"edges_{s}", torch.from_numpy(np.asarray(edge, np.float32)))
            self.register_buffer(f"centres_{s}", torch.zeros(len(edge) - 1))

    def forward(
        self,
        features: Tensor,  # [N, F - R]
        item: Tensor,  # [N, d]
        request: Tensor,  # [B, R]
        history: Tensor,  # [B, L, d]
        known: Tensor,  # [B, L], 1 where there is a token
        actions: Tensor,  # [B, L]
        value: Tensor,  # [B, L]
        age: Tensor,  # [B, L]
        user: Tensor,  # [B]
        attribute: Tensor,  # [B, A]
        surface: Tensor,  # [B]
    ) -> Tensor:
        """Serving, one request (B = 1): calibrated predictions ``[N, columns]``, in RankerSpec's order.

        Without empty slots in the history, but for a single one where there is no history at all.
        """
        logits = self.logits(
            features, item, request, history, known, actions, value, age, user, attribute, surface, None
        )
        columns = []
        if self.binary:
            stacked = torch.cat(logits[: self.binary], dim=1)
            columns.append(torch.sigmoid(stacked * self.platt[:, 0] + self.platt[:, 1]))
        for s in range(self.seconds):
            columns.extend(self.expectation(logits[self.binary + s], s))
        return torch.cat(columns, dim=1)

    def logits(
        self,
        features: Tensor,
        item: Tensor,
        request: Tensor,
        history: Tensor,
        known: Tensor,
        actions: Tensor,
        value: Tensor,
        age: Tensor,
        user: Tensor,
        attribute: Tensor,
        surface: Tensor,
        row: Tensor | None,
    ) -> list[Tensor]:
        """Raw outputs a task: ``[N, 1]`` for binary tasks, ``[N, bins]`` for seconds.

        ``row [N]``, ascending, is the request of each row; None means that B = 1.
        """
        tokens = self._tokens(history, actions, value, age) * known.unsqueeze(-1)
        attended = self._attend(self.query(item), tokens, known, row)
        candidate = self.candidate(item)
        normal = self.normal(features, slice(self.request_features, None))
        known_of_item = self.embedded * torch.cat([candidate, attended, candidate * attended], dim=1)
        inputs = self.dropout(torch.cat([normal, known_of_item], dim=1))
        about = self.dropout(self.normal(request, slice(self.request_features)))
        person = self.embedded * self._user(tokens, known, user, attribute, surface)
        shift = self.of_row.bias + self.of_request(torch.cat([about, person], dim=1))
        mixed = self._experts(inputs, shift if row is None else shift.index_select(0, row))
        return [tower(mixed[:, t]) for t, tower in enumerate(self.towers)]

    @torch.no_grad()
    def become_linear(self, weight: Tensor) -> None:
        """Let the logit of the first task be ``weight [F - R]`` times the normalised features of the row, exactly.

        A unit of each layer passes it on, lifted so far above 0 that no ReLU cuts it; all else is 0.
        """
        first, last = self.towers[0].get_submodule("0"), self.towers[0].get_submodule("2")
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        of_rows = (self.of_row.weight, self.of_row.bias, self.of_request.weight)
        for parameter in (*of_rows, *self.deeper, *self.towers[0].parameters()):
            parameter.zero_()
        lift, units = CLIP * weight.abs().sum(), torch.arange(self.experts) * self.hidden
        self.of_row.weight[units, : len(weight)] = weight
        self.of_row.bias[units] = lift
        for layer in self.deeper:
            layer[:, 0, 0] = 1
        first.weight[0, 0] = last.weight[0, 0] = 1
        last.bias[0] = -lift

    def normal(self, features: Tensor, columns: slice | Tensor) -> Tensor:
        """Of mean 0 and deviation 1, and cut: no feature, however strange its value, outweighs the others."""
        mean, scale = self.mean[columns], self.scale[columns]
        return (torch.clamp(features, mean - CLIP / scale, mean + CLIP / scale) - mean) * scale

    def _experts(self, inputs: Tensor, shift: Tensor) -> Tensor:
        """Each task's mixture of the experts, ``[N, tasks, size]``; one product an expert: nothing is transposed."""
        sizes = [self.hidden] * self.experts + [self.tasks * self.experts]
        weights, shifts = torch.split(self.of_row.weight, sizes), torch.split(shift, sizes, dim=1)
        *experts, gates = (torch.addmm(b, inputs, w.t()) for w, b in zip(weights, shifts, strict=True))
        experts = [torch.relu(expert) for expert in experts]
        for layer in self.deeper:
            experts = [torch.relu(expert @ weight) for expert, weight in zip(experts, layer.unbind(0), strict=True)]
        shares = torch.softmax(gates.reshape(-1, self.tasks, self.experts), dim=2)
        return shares @ torch.stack(experts, dim=1)

    def position_logits(self, position: Tensor) -> Tensor:
        """What being shown at each place adds to the tasks' logits: ``[N] -> [N, tasks]``."""
        return self.position((position + 1).clamp(0, POSITIONS))

    def expectation(self, logits: Tensor, s: int) -> tuple[Tensor, Tensor]:
        """(mean, median) seconds of the predicted distribution, each ``[N, 1]``."""
        edges, centres = getattr(self, f"edges_{s}"), getattr(self, f"centres_{s}")
        share = torch.softmax(logits, dim=1)
        mean = share @ centres.unsqueeze(1)
        # Each bin adds its width as far as half of the distribution reaches into it: no search, no gather.
        size = centres.shape[0]
        before = share @ torch.triu(torch.ones(size, size), diagonal=1)
        reached = ((0.5 - before) / share.clamp(min=1e-9)).clamp(0, 1)
        return mean, edges[0] + reached @ (edges[1:] - edges[:-1]).unsqueeze(1)

    def _tokens(self, history: Tensor, actions: Tensor, value: Tensor, age: Tensor) -> Tensor:
        # floor(actions / 2^t) mod 2: the bits, without integer shifts, which ONNX lacks for signed types.
        halves = torch.floor(actions.unsqueeze(-1) / self.powers)
        bits = halves - 2 * torch.floor(halves / 2)
        extra = torch.stack([value, age], dim=-1)
        return torch.relu(self.token(torch.cat([history, bits, extra * 0.2], dim=-1)))

    def _attend(self, query: Tensor, tokens: Tensor, known: Tensor, row: Tensor | None) -> Tensor:
        keys, contents = self.key(tokens), self.content(tokens)
        size = query.shape[1] // self.heads
        if row is None:  # one history for all rows, without empty slots: a matrix product a head
            q = query.reshape(-1, self.heads, size).transpose(0, 1)
            k = keys[0].reshape(-1, self.heads, size).permute(1, 2, 0)
            v = contents[0].reshape(-1, self.heads, size).transpose(0, 1)
            weight = torch.softmax(torch.bmm(q, k) * size**-0.5, dim=-1)
            return (weight @ v).transpose(0, 1).reshape(-1, query.shape[1])
        # Rows of one request side by side: [B, R] places, so that keys are never copied a row.
        first = torch.searchsorted(row, torch.arange(len(keys)))
        place = torch.arange(len(row)) - first[row]
        width = int(place.max()) + 1
        slot = row * width + place
        padded = query.new_zeros(len(keys) * width, query.shape[1]).index_copy(0, slot, query)
        q = padded.reshape(len(keys), width, self.heads, size).transpose(1, 2)
        k = keys.reshape(len(keys), -1, self.heads, size).permute(0, 2, 3, 1)
        v = contents.reshape(len(contents), -1, self.heads, size).transpose(1, 2)
        weight = torch.softmax(q @ k * size**-0.5 + ((1 - known) * -1e4)[:, None, None, :], dim=-1)
        return (weight @ v).transpose(1, 2).reshape(-1, query.shape[1]).index_select(0, slot)

    def _user(self, tokens: Tensor, known: Tensor, user: Tensor, attribute: Tensor, surface: Tensor) -> Tensor:
        if self.training and self.id_dropout > 0:
            user = user * (torch.rand(user.shape) >= self.id_dropout)
        average = tokens.sum(1) / known.sum(1, keepdim=True).clamp(min=1)
        number = (attribute > 0).sum(1, keepdim=True).clamp(min=1)
        traits = self.attribute(attribute).sum(1) / number**0.5
        return torch.cat([average, self.user(user), traits, self.surface(surface)], dim=1)
