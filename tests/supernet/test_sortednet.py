"""SortedNet: what a draw touches, and what a step is made of (numeric check 9)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from search_space.nesting import Nesting
from search_space.plugins import load_family
from supernet.data import Batch
from supernet.methods.sortednet.method import SortedNet
from supernet.methods.sortednet.options import SortedNetOptions
from supernet.network import Supernet
from supernet.passes import Passes
from supernet.slot import slice_bounds

SPACE = load_family("mobilenet", "digits")
NESTING = Nesting(SPACE)


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(SPACE)


def batch(count: int = 16) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch.of(
        torch.randn(count, 1, 8, 8, generator=generator), torch.randint(0, 10, (count,), generator=generator)
    )


def gradients(supernet) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("levels", [(0, 0), (1, 2), (2, 0), (0, 3)])
def test_training_a_sub_model_leaves_the_weights_outside_its_prefix_bit_identical(supernet, levels):
    architecture = NESTING.architecture(*levels)
    before = {name: p.detach().clone() for name, p in supernet.named_parameters()}
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1)
    passes, data = Passes(supernet.train()), batch()
    passes.backward(passes.task_loss(passes.run(data, architecture), data))
    optimizer.step()
    static = dict(_static_shapes(architecture))
    changed = 0
    for name, parameter in supernet.named_parameters():
        inside = torch.zeros_like(parameter, dtype=torch.bool)
        if name in static:
            part = inside
            for dim, start, length in slice_bounds(parameter.shape, static[name]):
                part = part.narrow(dim, start, length)
            part.fill_(True)
        moved = parameter.detach() != before[name]
        assert not (moved & ~inside).any(), name
        changed += int(moved.sum())
    assert changed > 0


def _static_shapes(architecture):
    from supernet.network import build_network

    for name, parameter in build_network(SPACE.layers(architecture)).named_parameters():
        slot, _, rest = name.partition(".")
        yield f"slots.{slot}.block.{rest}", parameter.shape


def test_a_smaller_sub_models_weights_are_a_prefix_of_a_larger_ones(supernet):
    from supernet.network import extract

    small = dict(extract(supernet, NESTING.architecture(0, 1)).named_parameters())
    large = dict(extract(supernet, NESTING.architecture(1, 2)).named_parameters())
    assert set(small) < set(large)
    for name, weight in small.items():
        whole = large[name]
        for dim, start, length in slice_bounds(whole.shape, weight.shape):
            whole = whole.narrow(dim, start, length)
        assert torch.equal(whole, weight), name


def test_every_draw_of_a_step_has_examples_of_its_own(supernet):
    method, data = SortedNet(SortedNetOptions(draws=4)), batch()
    architectures = method.architectures(SPACE, np.random.default_rng(0))
    supernet.train()
    for architecture, low in zip(architectures, range(0, 16, 4), strict=True):
        loss = F.cross_entropy(supernet(data.x[low : low + 4], architecture), data.targets[low : low + 4])
        (loss / 4).backward()
    expected = gradients(supernet)
    supernet.zero_grad(set_to_none=True)
    method.step(Passes(supernet), data, np.random.default_rng(0))
    for name, grad in gradients(supernet).items():
        torch.testing.assert_close(grad, expected[name], rtol=1e-5, atol=1e-7)


def test_with_the_same_batch_every_draw_sees_all_of_it(supernet):
    method, data = SortedNet(SortedNetOptions(draws=2, batches="same")), batch()
    supernet.train()
    for architecture in method.architectures(SPACE, np.random.default_rng(0)):
        (F.cross_entropy(supernet(data.x, architecture), data.targets) / 2).backward()
    expected = gradients(supernet)
    supernet.zero_grad(set_to_none=True)
    method.step(Passes(supernet), data, np.random.default_rng(0))
    for name, grad in gradients(supernet).items():
        torch.testing.assert_close(grad, expected[name], rtol=1e-5, atol=1e-7)


def test_the_sandwich_has_the_full_and_the_smallest_model_in_every_step():
    for seed in range(5):
        drawn = SortedNet(SortedNetOptions(distribution="sandwich")).architectures(SPACE, np.random.default_rng(seed))
        assert drawn[:2] == [SPACE.largest(), NESTING.smallest()]
        assert len(drawn) == 4


def test_draws_are_nested_sub_models_unless_they_are_free():
    nested = {one.id for one in NESTING.all()}
    rng = np.random.default_rng(0)
    assert {a.id for _ in range(50) for a in SortedNet().architectures(SPACE, rng)} <= nested
    free = {a.id for _ in range(50) for a in SortedNet(SortedNetOptions(dimensions="free")).architectures(SPACE, rng)}
    assert len(free - nested) > 150


def test_a_batch_too_small_for_its_draws_is_refused(supernet):
    with pytest.raises(ValueError, match="batch of 4 cannot be cut into 4 draws"):
        SortedNet(SortedNetOptions(draws=4)).step(Passes(supernet), batch(4), np.random.default_rng(0))
