"""Several processes train what one trains: the same losses and weights, within rounding."""

import pytest
import torch

from supernet.distributed import ALONE, Group, Orders, _buckets
from tests.supernet.replica import losses
from tests.torchrun import together

QUICK, FURTHER = ("mobilenet/1", "progressive/1", "untied/1/sharded"), ("llama/1", "llama/1/sharded")


@pytest.fixture(scope="module")
def of_processes() -> dict[str, list[dict[str, float]]]:
    """What two processes found in each case; they train one after the other, because starting them takes longest."""
    found: dict[str, list[dict[str, float]]] = together("tests.supernet.replica", *QUICK)
    return found


@pytest.fixture(scope="module")
def further() -> dict[str, list[dict[str, float]]]:
    """The same of the cases that only the thorough run has."""
    found: dict[str, list[dict[str, float]]] = together("tests.supernet.replica", *FURTHER)
    return found


def assert_equal(several, one):
    for mine, theirs in zip(several, one, strict=True):
        assert set(mine) == set(theirs)
        for name, value in theirs.items():
            assert mine[name] == pytest.approx(value, abs=1e-5, rel=1e-5), name


@pytest.mark.thorough
def test_two_processes_train_a_language_model_as_one_does(further):
    assert_equal(further["llama/1"], losses("llama", 1))


def test_two_processes_train_a_batch_normalised_network_as_one_with_two_micro_batches(of_processes):
    """Batch norm sees the examples of one process, so halves are what is compared."""
    assert_equal(of_processes["mobilenet/1"], losses("mobilenet", 2))


def test_two_processes_sort_as_one_does(of_processes):
    """After two steps the widths are sorted, and the third trains narrower networks."""
    assert_equal(of_processes["progressive/1"], losses("progressive", 2))


def test_two_processes_that_share_the_weights_of_a_llama_train_as_one_does(of_processes):
    assert_equal(of_processes["untied/1/sharded"], losses("untied", 1))


@pytest.mark.thorough
def test_tied_weights_stay_whole_beside_spread_ones(further):
    assert_equal(further["llama/1/sharded"], losses("llama", 1))


# --- the parts --------------------------------------------------------------------------------------


def test_one_process_exchanges_nothing():
    value = torch.ones(3)
    assert ALONE.add(value) is value
    module = torch.nn.Linear(2, 2)
    module(torch.ones(1, 2)).sum().backward()
    before = module.weight.grad.clone()
    ALONE.add_gradients(module)
    assert torch.equal(module.weight.grad, before)
    Orders(ALONE, torch.device("cpu")).step()


def test_gradients_go_in_buckets_of_one_type():
    mixed = [torch.zeros(10), torch.zeros(10), torch.zeros(4, dtype=torch.bfloat16), torch.zeros(3)]
    assert [[g.numel() for g in bucket] for bucket in _buckets(mixed)] == [[10, 10], [4], [3]]
    large = [torch.zeros(20 * 2**20) for _ in range(3)]
    assert [len(bucket) for bucket in _buckets(large)] == [1, 1, 1]


def test_the_sum_lands_in_the_gradients_that_sub_networks_share(monkeypatch):
    """In place: a copy would leave the views of sub-blocks behind."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat.mul_(2))
    module = torch.nn.Linear(2, 2)
    module(torch.ones(1, 2)).sum().backward()
    before, place = module.weight.grad.clone(), module.weight.grad.data_ptr()
    Group(0, 2).add_gradients(module)
    assert torch.equal(module.weight.grad, 2 * before)
    assert module.weight.grad.data_ptr() == place
