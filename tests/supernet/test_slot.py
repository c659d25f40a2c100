"""The slicing mechanism: where a smaller block's numbers come from and where its gradients go."""

import copy

import pytest
import torch
from torch import nn

from search_space.layers import ConvSpec, HeadSpec, MBConvSpec
from search_space.plugins import load_family
from supernet.network import Supernet
from supernet.slot import Slot, build_block, slice_bounds

CAPACITY = MBConvSpec(
    in_channels=6,
    hidden_channels=18,
    out_channels=8,
    kernel=5,
    stride=1,
    size=4,
    activation="ReLU",
    expand=True,
    project_shortcut=True,
)
SMALL = MBConvSpec(
    in_channels=4,
    hidden_channels=8,
    out_channels=6,
    kernel=3,
    stride=1,
    size=4,
    activation="ReLU",
    expand=True,
    project_shortcut=True,
)

# Where SMALL lies in CAPACITY: leading rows and columns, centre of the kernel.
PREFIX = {
    "expand.weight": (slice(0, 8), slice(0, 4)),
    "expand_norm.weight": (slice(0, 8),),
    "expand_norm.bias": (slice(0, 8),),
    "depthwise.weight": (slice(0, 8), slice(None), slice(1, 4), slice(1, 4)),
    "depthwise_norm.weight": (slice(0, 8),),
    "depthwise_norm.bias": (slice(0, 8),),
    "project.weight": (slice(0, 6), slice(0, 8)),
    "project_norm.weight": (slice(0, 6),),
    "project_norm.bias": (slice(0, 6),),
    "shortcut.weight": (slice(0, 6), slice(0, 4)),
}


@pytest.fixture
def slot() -> Slot:
    torch.manual_seed(0)
    made = Slot(CAPACITY)
    with torch.no_grad():
        for tensor in [*made.block.parameters(), *made.block.buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 1.0)
    return made


def small_input() -> torch.Tensor:
    return torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(1))


# --- bounds -----------------------------------------------------------------------------------------


def test_outputs_and_inputs_are_cut_from_the_front_and_kernels_from_the_centre():
    bounds = slice_bounds(torch.Size([16, 8, 7, 7]), torch.Size([4, 3, 3, 5]))
    assert bounds == ((0, 0, 4), (1, 0, 3), (2, 2, 3), (3, 1, 5))


def test_dimensions_of_equal_size_are_not_cut():
    assert slice_bounds(torch.Size([16, 8]), torch.Size([16, 4])) == ((1, 0, 4),)
    assert slice_bounds(torch.Size([16]), torch.Size([16])) == ()


@pytest.mark.parametrize("small", [(17, 8), (16, 9), (16,), (16, 8, 1)])
def test_a_tensor_that_does_not_fit_is_refused(small):
    with pytest.raises(ValueError, match=r"is not a slice of one of shape \(16, 8\)"):
        slice_bounds(torch.Size([16, 8]), torch.Size(small))


# --- values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PREFIX))
def test_an_extracted_weight_is_the_slice_of_the_largest(slot, name):
    small = slot.extract(SMALL).get_parameter(name)
    assert torch.equal(small, slot.block.get_parameter(name)[PREFIX[name]])


def test_every_weight_of_the_small_block_is_looked_at_above(slot):
    assert {name for name, _ in slot.extract(SMALL).named_parameters()} == set(PREFIX)


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_extracted_running_statistics_are_leading_parts_of_the_largest(slot, name):
    small = slot.extract(SMALL).project_norm.get_buffer(name)
    assert torch.equal(small, slot.block.project_norm.get_buffer(name)[:6])


def test_the_largest_spec_is_the_whole_block(slot):
    whole = slot.extract(CAPACITY).state_dict()
    for name, tensor in slot.block.state_dict().items():
        assert torch.equal(whole[name], tensor)


@pytest.mark.parametrize("training", [True, False])
def test_running_a_spec_equals_running_the_extracted_block(slot, training):
    slot.train(training)
    assert torch.equal(slot(small_input(), SMALL), slot.extract(SMALL)(small_input()))


def test_a_changed_weight_is_seen_by_the_next_pass_without_gradients(slot):
    slot.eval()
    with torch.no_grad():
        before = slot(small_input(), SMALL)
        slot.block.project.weight[0, 0] += 1
        after = slot(small_input(), SMALL)
    assert not torch.equal(before, after)
    assert torch.equal(after, slot.extract(SMALL)(small_input()))


def test_replaced_weights_are_seen_by_the_next_pass_without_gradients(slot):
    slot.eval()
    with torch.no_grad():
        slot(small_input(), SMALL)
    slot.double()
    with torch.no_grad():
        assert torch.equal(slot(small_input().double(), SMALL), slot.extract(SMALL)(small_input().double()))


# --- gradients --------------------------------------------------------------------------------------


def test_gradients_reach_exactly_the_slice(slot):
    slot(small_input(), SMALL).square().sum().backward()
    for name, prefix in PREFIX.items():
        grad = slot.block.get_parameter(name).grad
        inside = torch.zeros_like(grad, dtype=torch.bool)
        inside[prefix] = True
        assert (grad[~inside] == 0).all(), name
        assert (grad[inside] != 0).any(), name


def test_gradients_equal_those_of_the_extracted_block(slot):
    extracted = slot.extract(SMALL)
    slot(small_input(), SMALL).square().sum().backward()
    extracted(small_input()).square().sum().backward()
    for name, prefix in PREFIX.items():
        assert torch.equal(slot.block.get_parameter(name).grad[prefix], extracted.get_parameter(name).grad), name


def test_a_weight_that_the_spec_does_not_have_gets_no_gradient():
    slot = Slot(CAPACITY)
    without = MBConvSpec(6, 6, 6, 3, 1, 4, "ReLU", expand=True, project_shortcut=False)
    slot(torch.randn(3, 6, 4, 4), without).sum().backward()
    assert slot.block.shortcut.weight.grad is None


def test_gradients_reach_the_input(slot):
    x = small_input().requires_grad_()
    slot(x, SMALL).square().sum().backward()
    assert (x.grad != 0).any()


# --- no state ---------------------------------------------------------------------------------------


def bound_tensors(slot: Slot) -> list[torch.Tensor]:
    """Tensors that hang in the slot's sub-blocks."""
    return [
        tensor
        for sub_block in slot._sub_blocks.values()
        for module in sub_block.module.modules()
        for holder in (module._parameters, module._buffers)
        for tensor in holder.values()
        if tensor is not None
    ]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_a_sub_block_has_no_storage_of_its_own(slot, training, grad):
    slot.train(training)
    with torch.set_grad_enabled(grad):
        slot(small_input(), SMALL)
    mine = {tensor.untyped_storage().data_ptr() for tensor in [*slot.block.parameters(), *slot.block.buffers()]}
    bound = bound_tensors(slot)
    assert bound
    assert {tensor.untyped_storage().data_ptr() for tensor in bound} <= mine


def test_a_pass_leaves_no_graph_behind(slot):
    slot(small_input(), SMALL).sum().backward()
    assert all(tensor.grad_fn is None for tensor in bound_tensors(slot))


def test_a_pass_that_failed_does_not_disturb_the_next(slot):
    expected = slot.extract(SMALL).train()(small_input())
    with pytest.raises(RuntimeError):
        slot(torch.randn(3, 5, 4, 4), SMALL)
    assert torch.equal(slot(small_input(), SMALL), expected)


def test_gradients_cleared_between_steps_do_not_come_back(slot):
    for clear in ({"set_to_none": True}, {"set_to_none": False}):
        slot.zero_grad(**clear)
        slot(small_input(), SMALL).square().sum().backward()
        once = slot.block.project.weight.grad.clone()
        slot.zero_grad(**clear)
        slot(small_input(), SMALL).square().sum().backward()
        assert torch.equal(slot.block.project.weight.grad, once)


def test_a_pass_in_training_mode_leaves_running_statistics_alone(slot):
    before = copy.deepcopy(dict(slot.block.named_buffers()))
    slot.train()(small_input(), SMALL)
    for name, buffer in slot.block.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_the_weights_of_a_slot_are_those_of_its_block_alone(slot):
    expected = {f"block.{name}" for name in slot.block.state_dict()}
    slot(small_input(), SMALL)
    assert set(slot.state_dict()) == expected


def test_only_so_many_sub_blocks_are_remembered(monkeypatch):
    monkeypatch.setattr("supernet.slot.CACHED_SUB_BLOCKS", 3)
    slot = Slot(HeadSpec(1, 8, 2, 2, "ReLU"))
    specs = [HeadSpec(1, hidden, 2, 2, "ReLU") for hidden in range(1, 9)]
    for spec in specs:
        slot(torch.randn(2, 1, 2, 2), spec)
    assert list(slot._sub_blocks) == specs[-3:]


# --- blocks -----------------------------------------------------------------------------------------


def test_a_block_is_built_from_the_fields_of_its_spec():
    block = build_block(ConvSpec(1, 4, 3, 2, 8, "Hardswish"))
    assert block.conv.weight.shape == (4, 1, 3, 3)
    assert block.conv.stride == (2, 2)
    assert isinstance(block.activation, nn.Hardswish)


def test_a_spec_that_does_not_fit_is_refused(slot):
    with pytest.raises(ValueError, match="does not fit in this slot's"):
        slot(torch.randn(3, 7, 4, 4), MBConvSpec(7, 18, 8, 5, 1, 4, "ReLU", expand=True, project_shortcut=True))
    with pytest.raises(ValueError, match="does not fit in this slot's"):
        slot.extract(ConvSpec(6, 8, 3, 1, 4, "ReLU"))


def test_gradients_cleared_between_forward_and_backward_hold_the_new_sum_alone() -> None:
    space = load_family("mobilenet", "digits")
    torch.manual_seed(0)
    supernet = Supernet(space)
    x, architecture = torch.randn(4, 1, 8, 8), space.smallest()

    def gradients(clear_between: bool) -> dict[str, torch.Tensor]:
        supernet.zero_grad()
        if clear_between:
            supernet(x, architecture).sum().backward()
        out = supernet(x, architecture)
        if clear_between:
            supernet.zero_grad()
        out.sum().backward()
        return {name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None}

    expected, got = gradients(clear_between=False), gradients(clear_between=True)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_second_derivatives_are_refused() -> None:
    space = load_family("mobilenet", "digits")
    supernet = Supernet(space)
    out = supernet(torch.randn(4, 1, 8, 8), space.smallest()).sum()
    with pytest.raises(RuntimeError, match="create_graph=True is not supported"):
        out.backward(create_graph=True)


def test_frozen_parameter_gets_no_gradient() -> None:
    space = load_family("mobilenet", "digits")
    supernet = Supernet(space)
    x = torch.randn(4, 1, 8, 8)
    supernet(x, space.smallest()).sum().backward()
    supernet.zero_grad()
    frozen = next(supernet.slot("head").parameters())
    frozen.requires_grad_(False)
    supernet(x, space.smallest()).sum().backward()
    assert frozen.grad is None
    frozen.requires_grad_(True)
    supernet(x, space.smallest()).sum().backward()
    assert frozen.grad is not None
