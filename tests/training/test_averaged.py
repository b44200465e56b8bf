from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from upnext.training import averaged
from upnext.training.averaged import LAG, Averaged


def moved(network: nn.Linear, step: int) -> None:
    with torch.no_grad():
        network.weight.fill_(step)


def test_is_the_moving_average_and_forgets_the_first_steps_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(averaged, "DECAY", 0.5)
    network = nn.Linear(1, 1)
    moved(network, 7)
    average, expected = Averaged(network), 7.0
    for step in range(1, 30):
        moved(network, step * step)
        average.step()
        decay = min(0.5, (1 + step) / (LAG + step))
        expected = decay * expected + (1 - decay) * step * step
        with average.in_place():
            assert network.weight.item() == pytest.approx(expected, rel=1e-5)
        assert network.weight.item() == step * step


def test_the_weights_come_back_whatever_happens() -> None:
    network = nn.Linear(2, 2)
    average, before = Averaged(network), copy.deepcopy(network.state_dict())
    average.load_state_dict({**{name: value + 1 for name, value in before.items()}, "steps": torch.tensor(3)})

    def lost() -> None:
        with average.in_place():
            torch.testing.assert_close(network.bias.detach(), before["bias"] + 1)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        lost()
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_goes_on_where_it_stood() -> None:
    network = nn.Linear(1, 1)
    one = Averaged(network)
    for step in range(5):
        moved(network, step)
        one.step()
    other = Averaged(network)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    moved(network, 9)
    one.step()
    other.step()
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
