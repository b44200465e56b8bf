"""Who trains a network: this process alone, or several that each have a share of the examples.

All members begin with the same weights, take the same number of steps, and average their gradients in each of them:
together they take the steps that one process would take on all examples, a batch divided among them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from upnext.types import Int64

T = TypeVar("T")
ARRAYS_FILE, TOLD_FILE = "standing.npz", "standing.json"


@dataclass(frozen=True)
class Standing:
    """Where a training stands after an epoch: all that it needs to go on, as arrays and as what JSON can say."""

    arrays: Mapping[str, Any]
    told: Mapping[str, Any]

    @classmethod
    def of(
        cls, told: Mapping[str, Any], optimizer: Optimizer, schedule: LRScheduler, **states: Mapping[str, torch.Tensor]
    ) -> Standing:
        """Of an optimiser and its schedule, and of states of networks by name; torch's random numbers with them."""
        arrays = {
            f"{name}/{key}": value.cpu().numpy() for name, state in states.items() for key, value in state.items()
        }
        stored = optimizer.state_dict()
        for place, state in stored["state"].items():
            arrays |= {f"optimizer/{place}/{key}": value.cpu().numpy() for key, value in state.items()}
        arrays["random"] = torch.get_rng_state().numpy()
        return cls(arrays, {**told, "groups": stored["param_groups"], "schedule": _plain(schedule.state_dict())})

    def into(self, optimizer: Optimizer, schedule: LRScheduler) -> None:
        """Put back what ``of`` took of them, and torch's random numbers."""
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, array in self.arrays.items():
            if name.startswith("optimizer/"):
                _, place, key = name.split("/")
                state.setdefault(int(place), {})[key] = torch.from_numpy(np.array(array))
        optimizer.load_state_dict({"state": state, "param_groups": self.told["groups"]})
        schedule.load_state_dict({**schedule.state_dict(), **self.told["schedule"]})
        torch.set_rng_state(torch.from_numpy(np.array(self.arrays["random"])))

    def state(self, name: str) -> dict[str, torch.Tensor]:
        """That of the network of this name."""
        start = f"{name}/"
        return {
            key.removeprefix(start): torch.from_numpy(np.array(array))
            for key, array in self.arrays.items()
            if key.startswith(start)
        }

    def save(self, directory: Path) -> None:
        np.savez(directory / ARRAYS_FILE, allow_pickle=False, **self.arrays)
        (directory / TOLD_FILE).write_text(json.dumps(self.told), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Standing:
        with np.load(directory / ARRAYS_FILE, allow_pickle=False) as stored:
            return cls(dict(stored), json.loads((directory / TOLD_FILE).read_text(encoding="utf-8")))


class Team(Protocol):
    """What a training loop asks of the others."""

    @property
    def size(self) -> int: ...

    @property
    def rank(self) -> int:
        """The first, 0, is the one that measures."""
        ...

    @property
    def device(self) -> str:
        """Where this member's networks are: cpu, or cuda:0."""
        ...

    def at(self, array: NDArray[Any]) -> torch.Tensor:
        """The numbers there."""
        ...

    def together(self, objective: nn.Module) -> nn.Module:
        """The same module, whose gradients are the mean of all members' from now on."""
        ...

    def while_all(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, until one of the members has no more."""
        ...

    def least(self, number: int) -> int:
        """The smallest of all members' numbers."""
        ...

    def total(self, counts: Int64) -> Int64:
        """The sum of all members' counts."""
        ...

    def told(self, value: float) -> float:
        """What the first member says."""
        ...

    def keep(self, standing: Callable[[], Standing]) -> None:
        """Remember, of the first member, where the training stands."""
        ...

    def kept(self) -> Standing | None:
        """Where an earlier try of this training stood when it was lost; None where it begins."""
        ...


class Alone:
    """A team of one."""

    size, rank, device = 1, 0, "cpu"

    def at(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array)

    def together(self, objective: nn.Module) -> nn.Module:
        return objective

    def while_all(self, batches: Iterable[T]) -> Iterator[T]:
        return iter(batches)

    def least(self, number: int) -> int:
        return number

    def total(self, counts: Int64) -> Int64:
        return counts

    def told(self, value: float) -> float:
        return value

    def keep(self, standing: Callable[[], Standing]) -> None:
        pass

    def kept(self) -> Standing | None:
        return None


class Objective(nn.Module):
    """A loss as a module over the networks whose weights it moves: what gradients are averaged of."""

    def __init__(self, loss: Any, *networks: nn.Module) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self._loss = loss

    def forward(self, *given: Any) -> Any:
        return self._loss(*given)


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """What of a schedule's state is numbers: its functions are there already."""
    return {name: value for name, value in state.items() if isinstance(value, int | float) or name == "_last_lr"}
