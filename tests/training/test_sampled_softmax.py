"""The towers' loss against the softmax over everything, and its gradients against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from upnext.training.quick_gradients import log_sum_exp, of_small_table
from upnext.training.sampled_softmax import pairs, sampled_softmax


def test_with_the_whole_catalogue_as_negatives_it_is_the_softmax() -> None:
    torch.manual_seed(0)
    users, items = torch.randn(5, 8), torch.randn(20, 8)
    target = torch.tensor([3, 0, 19, 3, 7])
    same = torch.arange(5), target
    sampled = sampled_softmax(users, items[target], items, torch.ones(20), same, 0.5)
    exact = torch.nn.functional.cross_entropy(users @ items.T / 0.5, target, reduction="none")
    assert torch.allclose(sampled, exact, atol=1e-5)


def test_the_correction_makes_drawn_negatives_an_unbiased_estimate() -> None:
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    users, items = torch.randn(1, 8), torch.randn(50, 8)
    share = rng.dirichlet(np.ones(50))
    drawn = rng.choice(50, 200_000, p=share)
    expected = torch.from_numpy(200_000 * share[drawn]).float()
    place = torch.from_numpy(np.flatnonzero(drawn == 4))
    same = torch.zeros_like(place), place
    sampled = sampled_softmax(users, items[[4]], items[drawn], expected, same, 1.0)
    exact = torch.nn.functional.cross_entropy(users @ items.T, torch.tensor([4]))
    assert float(sampled) == pytest.approx(float(exact), abs=0.03)


def test_negatives_that_are_all_the_positive_cost_nothing() -> None:
    users = torch.randn(2, 8, requires_grad=True)
    same = torch.arange(6) // 3, torch.arange(6) % 3
    loss = sampled_softmax(users, torch.randn(2, 8), torch.randn(3, 8), torch.ones(3), same, 0.1).sum()
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.isfinite(users.grad).all()


codes = st.lists(st.integers(0, 6), max_size=12).map(lambda found: np.array(found, np.int32))


@given(codes, codes)
def test_pairs_of_equal_numbers(left: np.ndarray, right: np.ndarray) -> None:
    found = list(zip(*(place.tolist() for place in pairs(left, right)), strict=True))
    assert sorted(found) == list(zip(*(place.tolist() for place in np.nonzero(left[:, None] == right)), strict=True))


def test_gradients_are_what_differences_say() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_sum_exp, logits)
    assert torch.equal(log_sum_exp(logits), logits.logsumexp(1))
    table, code = torch.randn(5, 2, dtype=torch.float64, requires_grad=True), torch.randint(0, 4, (3, 7, 2))
    assert torch.autograd.gradcheck(of_small_table, (table, code))
    assert torch.equal(of_small_table(table, code), table[code])


def test_the_least_of_numbers_has_no_share() -> None:
    logits = torch.tensor([[-1e4, 3.0, -1e4], [-1e4, -1e4, -1e4]], requires_grad=True)
    found = log_sum_exp(logits)
    found.sum().backward()
    assert found.tolist() == pytest.approx([3.0, -1e4 + np.log(3)])
    assert torch.allclose(logits.grad, torch.tensor([[0.0, 1, 0], [1 / 3] * 3]))
