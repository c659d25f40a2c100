"""Batch-norm statistics of a sub-network are plain averages over the calibration batches."""

import copy

import pytest
import torch
from torch import nn

from search_space.plugins import load_family
from supernet.calibrate import calibrate
from supernet.network import Supernet, extract


def batches(count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(5 + i, 4, 3, 3, generator=generator) * (i + 1) + i for i in range(count)]


def norm_with_history() -> nn.Sequential:
    network = nn.Sequential(nn.BatchNorm2d(4, momentum=0.3))
    network(torch.full((2, 4, 3, 3), 7.0))
    return network


def test_statistics_are_the_plain_average_of_those_of_the_batches():
    network = norm_with_history()
    calibrate(network, batches())
    means = torch.stack([x.mean((0, 2, 3)) for x in batches()]).mean(0)
    variances = torch.stack([x.var((0, 2, 3), unbiased=True) for x in batches()]).mean(0)
    torch.testing.assert_close(network[0].running_mean, means)
    torch.testing.assert_close(network[0].running_var, variances)


def test_calibrating_twice_forgets_the_first_time():
    network = norm_with_history()
    calibrate(network, batches())
    once = copy.deepcopy(network.state_dict())
    calibrate(network, batches())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, once[name]), name


def test_weights_are_untouched():
    torch.manual_seed(0)
    space = load_family("mobilenet", "digits")
    network = extract(Supernet(space), space.largest())
    before = [parameter.detach().clone() for parameter in network.parameters()]
    calibrate(network, [torch.randn(16, 1, 8, 8)])
    for parameter, old in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert parameter.grad is None


def test_the_momentum_is_restored():
    network = norm_with_history()
    calibrate(network, batches())
    assert network[0].momentum == 0.3


def test_the_network_is_left_in_evaluation_mode():
    network = norm_with_history().train()
    calibrate(network, batches())
    assert not any(module.training for module in network.modules())


def test_everything_but_normalisation_runs_in_evaluation_mode():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(4))
    calibrate(network, batches(1))
    torch.testing.assert_close(network[1].running_mean, batches(1)[0].mean((0, 2, 3)))


def test_a_network_without_batch_norm_is_left_as_it_is():
    network = nn.Sequential(nn.Linear(4, 2))
    before = copy.deepcopy(network.state_dict())
    calibrate(network, [torch.randn(3, 4)])
    assert torch.equal(network[0].weight, before["0.weight"])


def test_without_a_batch_there_is_nothing_to_average():
    network = norm_with_history()
    with pytest.raises(ValueError, match="at least one batch"):
        calibrate(network, [])
