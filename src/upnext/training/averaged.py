"""The average of a network's weights over its last steps: what is measured, kept and served.

A training that stops early stops while its steps are large, wherever the last one led it. Averages lie in the middle
(Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

DECAY = 0.99  # of the average, a step: about the last hundred count
LAG = 10  # the first steps are forgotten sooner


class Averaged:
    """The moving average of all parameters of a network; buffers are left alone."""

    def __init__(self, network: nn.Module) -> None:
        self._parameters = dict(network.named_parameters())
        self._mean = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Take in the weights as they are now."""
        self._steps += 1
        decay = min(DECAY, (1 + self._steps) / (LAG + self._steps))
        torch._foreach_lerp_(list(self._mean.values()), [p.data for p in self._parameters.values()], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the averages for its weights for a while."""
        now = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self._put(self._mean)
        try:
            yield
        finally:
            self._put(now)

    def state_dict(self) -> dict[str, Tensor]:
        return {**self._mean, "steps": torch.tensor(self._steps)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, mean in self._mean.items():
                mean.copy_(state[name])
        self._steps = int(state["steps"])

    @torch.no_grad()
    def _put(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(weights[name])
