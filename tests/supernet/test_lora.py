"""Low-rank updates: the factors' gradients, and weights that stay plain."""

import pytest
import torch
from torch import nn

from supernet.lora import LowRankUpdate


def made(rank: int = 2) -> tuple[nn.Linear, LowRankUpdate]:
    torch.manual_seed(0)
    linear = nn.Linear(6, 5)
    return linear, LowRankUpdate(linear, rank, alpha=8.0, generator=torch.Generator().manual_seed(1))


def test_nothing_changes_before_the_first_step():
    linear, update = made()
    before = linear.weight.detach().clone()
    update.push()
    assert torch.equal(linear.weight, before)


def test_the_factors_gradients_are_those_of_autograd():
    linear, update = made()
    a, b = update.factors
    with torch.no_grad():
        b.normal_()
    update.push()
    x = torch.randn(7, 6)
    linear(x).square().sum().backward()
    update.pull()
    base, bias = update.base[0], linear.bias.detach()
    leaf_a, leaf_b = a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
    (x @ (base + 8.0 / 2 * leaf_b @ leaf_a).T + bias).square().sum().backward()
    torch.testing.assert_close(a.grad, leaf_a.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(b.grad, leaf_b.grad, rtol=1e-4, atol=1e-4)


def test_weights_move_within_the_rank():
    linear, update = made(rank=1)
    before = linear.weight.detach().clone()
    optimizer = torch.optim.SGD(update.factors, lr=1e-3)
    for _ in range(3):
        linear.zero_grad()
        linear(torch.randn(7, 6)).square().sum().backward()
        update.pull()
        optimizer.step()
        update.push()
    moved = linear.weight.detach() - before
    assert torch.linalg.matrix_rank(moved, atol=1e-5) == 1
    assert len(update.factors) == 2  # the bias is frozen


def test_a_weight_without_a_gradient_gives_its_factors_none():
    _, update = made()
    update.pull()
    assert all(factor.grad is None for factor in update.factors)


def test_a_rank_larger_than_every_matrix_is_refused():
    with pytest.raises(ValueError, match="lora_rank is 6"):
        LowRankUpdate(nn.Linear(6, 5), 6, 1.0, torch.Generator())


def test_what_is_stored_restores_weights_and_factors():
    linear, update = made()
    with torch.no_grad():
        update.factors[1].normal_()
    update.push()
    other_linear, other = made()
    other.restore({name: tensor.clone() for name, tensor in update.tensors().items()})
    assert torch.equal(other_linear.weight, linear.weight)
