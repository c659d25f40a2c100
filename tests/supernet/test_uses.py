"""Gradients by use and scales of their own, against extracted networks."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from search_space.plugins import load_family
from supernet.data import Batch
from supernet.flat import load_tensors, own_tensors
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.network import Supernet, extract
from supernet.passes import Passes
from supernet.slot import slice_bounds
from supernet.uses import add_own_scales, uses

SPACE = load_family("mobilenet", "digits")
# As everywhere in these tests: a slice and a copy of it may be added up in another order.
CLOSE = {"rtol": 1e-5, "atol": 2e-7}


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(SPACE)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch.of(torch.randn(16, 1, 8, 8, generator=generator), torch.randint(0, 10, (16,), generator=generator))


def with_scales(supernet: Supernet) -> Supernet:
    """Every scale and shift different from every other."""
    add_own_scales(supernet)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for slot in supernet.slots.values():
            for scale in slot.scales.parameters():
                scale.add_(torch.rand(scale.shape, generator=generator))
    return supernet


def members_gradients(supernet: Supernet, batch: Batch, members) -> list[dict[str, torch.Tensor]]:
    """Of each member's loss, from networks of their own: biggest first, its students after."""
    found, teacher = [], None
    for member in members:
        network = extract(supernet, member)
        logits = network(batch.x)
        if teacher is None:
            teacher = logits.detach().softmax(1)
            loss = F.cross_entropy(logits, batch.targets, label_smoothing=0.1)
        else:
            loss = F.cross_entropy(logits, teacher)
        loss.backward()
        found.append({name: p.grad for name, p in network.named_parameters()})
    return found


def placed(small: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Zeros in the shape of the whole tensor, but for the small one's place."""
    out = torch.zeros_like(whole)
    part = out
    for bound in slice_bounds(whole.shape, small.shape):
        part = part.narrow(*bound)
    part.copy_(small)
    return out


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_gradients_are_divided_by_how_many_members_use_an_element(supernet, batch, power):
    method = BigNAS(BigNASOptions(use_power=power))
    members = method.architectures(SPACE, np.random.default_rng(3))
    of_members = members_gradients(supernet, batch, members)
    method.step(Passes(supernet), batch, np.random.default_rng(3))
    checked = 0
    for slot in supernet.slots:
        for name, whole in supernet.slot(slot).block.named_parameters():
            own = [each[f"{slot}.{name}"] for each in of_members if f"{slot}.{name}" in each]
            if not own:
                continue
            total = sum(placed(grad, whole) for grad in own)
            count = sum(placed(torch.ones_like(grad), whole) for grad in own).clamp(min=1)
            torch.testing.assert_close(whole.grad, total / count**power, **CLOSE)
            checked += 1
    assert checked > 20


def test_a_power_of_zero_is_the_sum_to_the_bit(supernet, batch):
    twin = copy.deepcopy(supernet)
    BigNAS().step(Passes(supernet), batch, np.random.default_rng(3))
    BigNAS(BigNASOptions(use_power=0.0)).step(Passes(twin), batch, np.random.default_rng(3))
    for a, b in zip(supernet.parameters(), twin.parameters(), strict=True):
        assert (a.grad is None and b.grad is None) or torch.equal(a.grad, b.grad)


def test_a_second_micro_batch_leaves_the_first_ones_gradients_as_they_are(supernet, batch):
    method, once = BigNAS(BigNASOptions(use_power=1.0)), copy.deepcopy(supernet)
    method.step(Passes(once), batch, np.random.default_rng(3))
    for _ in range(2):
        method.step(Passes(supernet), batch, np.random.default_rng(3))
    for twice, single in zip(supernet.parameters(), once.parameters(), strict=True):
        assert (twice.grad is None) == (single.grad is None)
        if twice.grad is not None:
            torch.testing.assert_close(twice.grad, 2 * single.grad, **CLOSE)


def test_uses_are_counted_element_by_element(supernet):
    ends = [SPACE.largest(), SPACE.smallest()]
    counts = uses(supernet, ends)
    small, large = (supernet.layers(end)["stem"].out_channels for end in reversed(ends))
    stem = counts[supernet.slot("stem").block.conv.weight]
    assert small < large
    assert (stem[:small] == 2).all()
    assert (stem[small:] == 1).all()


def test_own_scales_start_as_the_shared_ones(supernet, batch):
    twin = copy.deepcopy(supernet)
    add_own_scales(twin)
    for architecture in BigNAS(BigNASOptions(num_random=4)).architectures(SPACE, np.random.default_rng(0)):
        assert torch.equal(supernet(batch.x, architecture), twin(batch.x, architecture))


def test_extracted_networks_have_the_scales_of_their_widths(supernet, batch):
    with_scales(supernet)
    for architecture in BigNAS(BigNASOptions(num_random=4)).architectures(SPACE, np.random.default_rng(0)):
        network = extract(supernet, architecture)
        assert torch.equal(supernet(batch.x, architecture), network(batch.x))
        assert not any("scales" in name for name in network.state_dict())


def test_gradients_of_own_scales_are_those_of_extracted_networks(supernet, batch):
    with_scales(supernet)
    method = BigNAS(BigNASOptions(own_scales=True, num_random=0))
    ends = method.architectures(SPACE, np.random.default_rng(0))
    _, of_smallest = members_gradients(supernet, batch, ends)
    method.step(Passes(supernet), batch, np.random.default_rng(0))
    small = supernet.layers(SPACE.smallest())["stem"].out_channels
    own = supernet.slot("stem").scales[f"norm-{small}"]
    torch.testing.assert_close(own.weight.grad, of_smallest["stem.norm.weight"], **CLOSE)
    torch.testing.assert_close(own.bias.grad, of_smallest["stem.norm.bias"], **CLOSE)


def test_a_fresh_supernet_takes_up_weights_with_own_scales(supernet, batch):
    with_scales(supernet)
    fresh = Supernet(SPACE)
    load_tensors(fresh, own_tensors(supernet))
    smallest = SPACE.smallest()
    assert torch.equal(supernet(batch.x, smallest), fresh(batch.x, smallest))
