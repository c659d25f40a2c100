"""Kernels that are made by transforms (once-for-all): against the formula, and wherever weights are read."""

import copy

import numpy as np
import pytest
import torch
from torch.func import functional_call

from export.formats.supernet.format import _own
from pipeline.exporting import _each_once
from search_space.adjustments import Adjustments
from search_space.layers import MBConvSpec
from search_space.plugins import load_family
from supernet.averaging import Average
from supernet.calibrate import calibrate
from supernet.data import Batch
from supernet.elastic import add_transforms
from supernet.flat import load_tensors, own_tensors
from supernet.network import Supernet, extract
from supernet.passes import Passes
from supernet.prefixes import Prefixes
from supernet.slot import Slot, build_block

SPACE = load_family("mobilenet", "digits", Adjustments({"stage*_block*_kernel": (3, 5, 7)}))
LAYERS = 6


def spec(kernel: int, hidden: int) -> MBConvSpec:
    return MBConvSpec(4, hidden, 6, kernel, 1, 8, "ReLU", expand=True, project_shortcut=True)


def images(count: int = 8) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def shaken(module: torch.nn.Module) -> None:
    """Let no transform be the identity."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "kernels." in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    made = Supernet(SPACE)
    add_transforms(made)
    shaken(made)
    return made


def drawn(count: int = 4):
    rng = np.random.default_rng(0)
    return [SPACE.smallest(), SPACE.largest(), *(SPACE.sample(rng) for _ in range(count))]


def test_a_layer_of_kernels_up_to_seven_has_706_parameters_more():
    torch.manual_seed(0)
    plain, made = Supernet(SPACE), Supernet(SPACE)
    add_transforms(made)
    sizes = [sum(p.numel() for p in each.parameters()) for each in (plain, made)]
    assert sizes[1] - sizes[0] == 706 * LAYERS
    add_transforms(made)  # a second time adds nothing
    assert sum(p.numel() for p in made.parameters()) == sizes[1]


def test_transforms_start_as_the_centre_of_the_kernel():
    torch.manual_seed(0)
    plain = Supernet(SPACE)
    made = copy.deepcopy(plain)
    add_transforms(made)
    for architecture in drawn():
        assert torch.equal(plain(images(), architecture), made(images(), architecture))


def test_a_space_without_elastic_kernels_gets_none():
    for family, preset in (("vit", "cifar"), ("llama", "tiny")):
        made = Supernet(load_family(family, preset))
        add_transforms(made)
        assert not any(len(slot.kernels) for slot in made.slots.values())


def test_gradients_are_those_of_the_formula():
    """W5 = centre5(W7) M5, W3 = centre3(W5) M3, in double precision, of a block that is narrower as well."""
    torch.manual_seed(0)
    slot = Slot(spec(7, 12)).double()
    for kernel in (5, 3):
        slot.add_transforms(spec(kernel, 12))
    shaken(slot)
    small, x = spec(3, 8), torch.randn(3, 4, 8, 8, dtype=torch.float64)
    # Twice, because the sums of micro-batches add up, and with two passes before the gradients.
    out = slot(x, small)
    slot(2 * x, small).square().mean().backward()
    out.square().mean().backward()

    seven = slot.block.depthwise.weight.detach().clone().requires_grad_()
    by_size = {made.size[0]: made.matrix.detach().clone().requires_grad_() for made in slot.kernels.values()}
    five = (seven[:8, :, 1:6, 1:6].reshape(8, 1, 25) @ by_size[5]).reshape(8, 1, 5, 5)
    three = (five[:, :, 1:4, 1:4].reshape(8, 1, 9) @ by_size[3]).reshape(8, 1, 3, 3)
    block = build_block(small).double()
    weights = {name: slot.block.get_parameter(name).detach() for name, _ in block.named_parameters()}
    cut = {name: weights[name][tuple(slice(n) for n in own.shape)] for name, own in block.named_parameters()}
    expand = cut["expand.weight"].clone().requires_grad_()
    named = {**cut, "depthwise.weight": three, "expand.weight": expand}
    for given in (x, 2 * x):
        functional_call(block, named, (given,)).square().mean().backward(retain_graph=True)

    tight = {"rtol": 1e-10, "atol": 1e-14}
    torch.testing.assert_close(slot.block.depthwise.weight.grad, seven.grad, **tight)
    torch.testing.assert_close(slot.block.expand.weight.grad[:8], expand.grad, **tight)
    for made in slot.kernels.values():
        torch.testing.assert_close(made.matrix.grad, by_size[made.size[0]].grad, **tight)


def test_a_kernel_of_the_largest_size_uses_no_transform(supernet):
    supernet(images(), SPACE.largest()).sum().backward()
    assert all(made.matrix.grad is None for slot in supernet.slots.values() for made in slot.kernels.values())


def test_blocks_that_are_computed_again_give_the_same_gradients(supernet):
    twin, given = copy.deepcopy(supernet), Batch.of(images(), torch.zeros(8, dtype=torch.int64))
    for made, again in ((supernet, False), (twin, True)):
        passes = Passes(made, activation_checkpointing=again)
        for architecture in (SPACE.smallest(), drawn(1)[-1]):
            passes.backward(passes.task_loss(passes.run(given, architecture), given))
    for (name, one), other in zip(supernet.named_parameters(), twin.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("training", [True, False])
def test_extracted_networks_are_plain_and_equal_to_the_bit(supernet, training):
    supernet.train(training)
    for architecture in drawn(8):
        network = extract(supernet, architecture)
        answers = network(images())
        assert torch.equal(supernet(images(), architecture), answers)
        with torch.no_grad():
            assert torch.equal(supernet(images(), architecture), answers)
        shapes = {name: p.shape for name, p in network.named_parameters()}
        with torch.device("meta"):
            plain = {name: p.shape for slot, s in SPACE.layers(architecture).items() for name, p in
                     ((f"{slot}.{n}", p) for n, p in build_block(s).named_parameters())}  # fmt: skip
        assert shapes == plain


def test_a_16_bit_pass_computes_kernels_in_float32(supernet):
    architecture = SPACE.smallest()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(supernet(images(), architecture), extract(supernet, architecture)(images()))


def test_weights_that_changed_are_seen_in_the_next_pass(supernet):
    supernet.eval()
    with torch.no_grad():
        before = supernet(images(), SPACE.smallest())
        shaken(supernet)
        after = supernet(images(), SPACE.smallest())
        assert not torch.equal(before, after)
        assert torch.equal(after, extract(supernet, SPACE.smallest())(images()))


def test_what_a_network_shares_is_never_a_kernel_that_was_computed(supernet):
    network = extract(supernet, SPACE.smallest(), shares=True)
    supernet.eval()
    assert torch.equal(network.eval()(images()), supernet(images(), SPACE.smallest()))


def test_a_fresh_supernet_takes_up_transforms(supernet):
    fresh = Supernet(SPACE)
    load_tensors(fresh, own_tensors(supernet))
    twin, average = copy.deepcopy(supernet), Average(supernet, 0.9)
    for architecture in drawn():
        for other in (fresh, twin, average.supernet):
            assert torch.equal(supernet(images(), architecture), other(images(), architecture))


def test_networks_that_are_examined_together_have_their_kernels(supernet):
    architectures = drawn()
    prefixes = Prefixes(supernet.eval(), architectures)
    prefixes.calibrate([images()])
    answers = dict(prefixes.answers(Batch.of(images(), torch.zeros(8, dtype=torch.int64))))
    for index, architecture in enumerate(architectures):
        network = extract(supernet, architecture)
        calibrate(network, [images()])
        with torch.no_grad():
            assert torch.equal(answers[index], network(images()))


def test_a_file_of_the_supernet_holds_made_kernels_for_their_networks(supernet):
    whole = _each_once(
        {f"{slot}.{n}": p.detach() for slot in supernet.slots for n, p in supernet.slot(slot).block.named_parameters()}
    )
    network = extract(supernet, SPACE.smallest())
    own = {name for name, _ in _own(network, whole)} - {name for name, _ in network.named_buffers()}
    assert own == {name for name in dict(network.named_parameters()) if name.endswith("depthwise.weight")}
