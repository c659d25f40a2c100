"""Gradients by use and weights of their own, against extracted networks."""

import copy
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from search_space.architecture import Architecture
from search_space.plugins import load_family
from supernet.data import Batch
from supernet.flat import load_tensors, own_tensors
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.network import Supernet, extract
from supernet.passes import Passes
from supernet.slot import slice_bounds
from supernet.uses import add_own_weights, uses

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


def with_own_weights(supernet: Supernet) -> Supernet:
    """Every value of a width of its own different from every other."""
    add_own_weights(supernet)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for slot in supernet.slots.values():
            for value in slot.own.parameters():
                value.add_(torch.rand(value.shape, generator=generator))
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


def members_of(num_random: int) -> list[Architecture]:
    return BigNAS(BigNASOptions(num_random=num_random)).architectures(SPACE, np.random.default_rng(0))


def test_own_weights_start_as_the_shared_ones(supernet, batch):
    twin = copy.deepcopy(supernet)
    add_own_weights(twin)
    assert sum(p.numel() for p in twin.parameters()) > sum(p.numel() for p in supernet.parameters())
    for architecture in members_of(4):
        assert torch.equal(supernet(batch.x, architecture), twin(batch.x, architecture))


def test_extracted_networks_have_the_weights_of_their_widths(supernet, batch):
    sizes = [sum(p.numel() for p in extract(supernet, one).parameters()) for one in members_of(4)]
    before = supernet(batch.x, SPACE.smallest())
    with_own_weights(supernet)
    assert not torch.equal(supernet(batch.x, SPACE.smallest()), before)
    for architecture, size in zip(members_of(4), sizes, strict=True):
        network = extract(supernet, architecture)
        assert torch.equal(supernet(batch.x, architecture), network(batch.x))
        assert sum(p.numel() for p in network.parameters()) == size
        assert not any("own" in name for name in network.state_dict())


@pytest.mark.parametrize("own", [0.5, 2.0])
def test_a_width_learns_from_the_sum_and_from_its_own_networks(supernet, batch, own):
    with_own_weights(supernet)
    method = BigNAS(BigNASOptions(own_weights=own))
    members = method.architectures(SPACE, np.random.default_rng(3))
    of_members = members_gradients(supernet, batch, members)
    method.step(Passes(supernet), batch, np.random.default_rng(3))
    checked = 0
    for name in supernet.slots:
        slot = supernet.slot(name)
        named = {id(whole): path for path, whole in slot.block.named_parameters()}
        for whole, values in slot.widths():
            path = named[id(whole)]
            grads = [each[f"{name}.{path}"] for each in of_members if f"{name}.{path}" in each]
            total = sum((placed(grad, whole) for grad in grads), torch.zeros_like(whole))
            for value in (whole, *values):
                # Mine: networks that are as wide, in outputs or, where all have as many of these, in inputs.
                mine = torch.zeros_like(value)
                for grad in grads:
                    dim = next((d for d in (0, 1) if d < whole.dim() and grad.shape[d] < whole.shape[d]), None)
                    width = (
                        whole.shape if dim is None else (*whole.shape[:dim], grad.shape[dim], *whole.shape[dim + 1 :])
                    )
                    if tuple(width) == tuple(value.shape):
                        mine += placed(grad, value)
                leading = total[tuple(slice(size) for size in value.shape)]
                torch.testing.assert_close(value.grad, leading + own * mine, **CLOSE)
                checked += 1
    assert checked > 40


def test_without_anything_of_its_own_no_width_learns_apart(supernet, batch):
    """The difference gets no gradient at a share of almost 0: all widths stay slices of the widest's."""
    method = BigNAS(BigNASOptions(own_weights=1e-9))
    method.prepare(supernet)
    optimizer = torch.optim.SGD(supernet.parameters(), 0.05, momentum=0.9)
    for step in range(3):
        optimizer.zero_grad()
        method.step(Passes(supernet), batch, np.random.default_rng(step))
        optimizer.step()
    moved = 0
    for slot in supernet.slots.values():
        for whole, values in slot.widths():
            for value in values:
                torch.testing.assert_close(value, whole[tuple(slice(size) for size in value.shape)], rtol=0, atol=1e-6)
                moved += 1
    assert moved > 20


def test_micro_batches_add_up_with_own_weights(supernet, batch):
    method = BigNAS(BigNASOptions(own_weights=1.0))
    method.prepare(supernet)
    once = copy.deepcopy(supernet)
    method.step(Passes(once), batch, np.random.default_rng(3))
    for _ in range(2):
        method.step(Passes(supernet), batch, np.random.default_rng(3))
    for twice, single in zip(supernet.parameters(), once.parameters(), strict=True):
        if twice.grad is not None:
            torch.testing.assert_close(twice.grad, 2 * single.grad, **CLOSE)


def test_a_fresh_supernet_takes_up_own_weights(supernet, batch):
    with_own_weights(supernet)
    fresh = Supernet(SPACE)
    load_tensors(fresh, own_tensors(supernet))
    for architecture in members_of(4):
        assert torch.equal(supernet(batch.x, architecture), fresh(batch.x, architecture))


def test_parameters_that_two_layers_hold_stay_shared():
    space = load_family("llama", "tiny")
    supernet = Supernet(space)
    holders = Counter(id(weight) for slot in supernet.slots.values() for weight in slot.parameters())
    tied = {weight for weight, count in holders.items() if count > 1}
    assert tied
    add_own_weights(supernet)
    held = {id(whole) for slot in supernet.slots.values() for whole, _ in slot.widths()}
    assert held
    assert not held & tied
    tokens = torch.randint(0, 32, (2, 8), generator=torch.Generator().manual_seed(0))
    for architecture in (space.smallest(), space.largest()):
        assert torch.equal(supernet(tokens, architecture), extract(supernet, architecture)(tokens))
