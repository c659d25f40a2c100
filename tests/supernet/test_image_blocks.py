"""Blocks of image networks: what each computes, against the same written by hand."""

import pytest
import torch
import torch.nn.functional as F

from search_space.layers import (
    BasicSpec,
    BottleneckSpec,
    ClassifierSpec,
    ConvSpec,
    EncoderLayerSpec,
    HeadSpec,
    LayerSpec,
    MaxPoolSpec,
    MBConvSpec,
    MixingSpec,
    PatchEmbeddingSpec,
    ResizeSpec,
)
from supernet.network import Supernet
from supernet.slot import build_block
from winnow.testing.families import buildable

MBCONV = MBConvSpec(8, 16, 8, 3, 1, 6, "SiLU", expand=True, project_shortcut=False)
SQUEEZED = MBConvSpec(8, 16, 8, 3, 1, 6, "SiLU", expand=True, project_shortcut=False, squeeze_channels=4)


def made(spec: LayerSpec) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_block(spec).eval()


def images(channels: int, size: int = 6) -> torch.Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1))


def zeroed(spec: LayerSpec) -> torch.nn.Module:
    """A block whose residual branch gives zeros."""
    block = made(spec)
    block.zero_last_scale()
    return block


@torch.no_grad()
def test_a_gate_that_is_open_changes_nothing():
    squeezed, plain = made(SQUEEZED), made(MBCONV)
    plain.load_state_dict(squeezed.state_dict(), strict=False)
    squeezed.excite.weight.zero_()
    squeezed.excite.bias.fill_(100.0)  # sigmoid(100) is 1 in float32
    assert torch.equal(squeezed(images(8)), plain(images(8)))


@torch.no_grad()
def test_a_gate_that_is_shut_leaves_the_shortcut_and_the_shift():
    squeezed = made(SQUEEZED)
    squeezed.excite.weight.zero_()
    squeezed.excite.bias.fill_(-1000.0)
    x = images(8)
    nothing = squeezed.project_norm(torch.zeros_like(x))
    assert torch.equal(squeezed(x), x + nothing)


@torch.no_grad()
def test_squeeze_and_excitation_looks_at_the_mean_of_each_channel():
    block = made(SQUEEZED)
    hidden = F.silu(block.depthwise_norm(block.depthwise(F.silu(block.expand_norm(block.expand(images(8)))))))
    means = hidden.mean((2, 3))
    inner = F.relu(F.linear(means, block.squeeze.weight.flatten(1), block.squeeze.bias))
    gate = torch.sigmoid(F.linear(inner, block.excite.weight.flatten(1), block.excite.bias))
    expected = block.project_norm(block.project(hidden * gate[:, :, None, None])) + images(8)
    assert torch.allclose(block(images(8)), expected, atol=1e-6)


@torch.no_grad()
def test_a_block_without_a_shortcut_adds_nothing():
    alone = made(MBConvSpec(8, 16, 8, 3, 1, 6, "SiLU", expand=True, project_shortcut=False, shortcut=False))
    with_it = made(MBCONV)
    assert torch.equal(alone(images(8)) + images(8), with_it(images(8)))


def test_zeroing_the_last_scale_spares_blocks_without_a_shortcut():
    """They would give zeros for ever: nothing else reaches their output."""
    alone = zeroed(MBConvSpec(8, 16, 8, 3, 1, 6, "SiLU", expand=True, project_shortcut=False, shortcut=False))
    assert alone.project_norm.weight.eq(1).all()
    assert zeroed(MBCONV).project_norm.weight.eq(0).all()


@pytest.mark.parametrize("preset", ["bignas", "attentivenas", "mobilenet_v2"])
def test_no_supernet_starts_dead(preset):
    """After zeroing the last scales, a picture still makes a difference to the logits, and gradients reach the stem."""
    torch.manual_seed(0)
    space = buildable("mobilenet", preset)
    supernet = Supernet(space)
    supernet.zero_last_scales()
    x = torch.randn(4, space.takes.channels, space.takes.size, space.takes.size)
    for architecture in (space.smallest(), space.largest()):
        supernet.zero_grad()
        logits = supernet(x, architecture)
        assert not torch.allclose(logits[0], logits[1])
        logits.square().sum().backward()
        assert supernet.slot("stem").block.conv.weight.grad.abs().sum() > 0


# --- bottlenecks with an operation ---------------------------------------------------------------------


def mixing(operation: str, kernel: int = 3, dilation: int = 1, stride: int = 1) -> MixingSpec:
    return MixingSpec(8, 12, 8, operation, kernel, dilation, stride, 6, "ReLU", shortcut=stride == 1)


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("operation", ["avg_pool", "max_pool"])
def test_a_pooling_mixes_positions_and_sees_nothing_outside(operation, stride):
    block = made(mixing(operation, stride=stride))
    hidden = F.relu(block.reduce_norm(block.reduce(images(8))))
    # Windows by hand, cut at the image's rim.
    middle = torch.empty(2, 12, 6 // stride, 6 // stride)
    for row in range(middle.shape[2]):
        for column in range(middle.shape[3]):
            y, x = row * stride, column * stride
            window = hidden[:, :, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            middle[:, :, row, column] = window.mean((2, 3)) if operation == "avg_pool" else window.amax((2, 3))
    expected = block.expand_norm(block.expand(middle)) + (images(8) if stride == 1 else 0)
    assert torch.allclose(block(images(8)), expected, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (3, 2), (7, 1)])
def test_a_separable_convolution_is_depthwise_and_then_across_channels(kernel, dilation):
    block = made(mixing("separable", kernel, dilation))
    hidden = F.relu(block.reduce_norm(block.reduce(images(8))))
    across = F.conv2d(hidden, block.depthwise.weight, padding="same", dilation=dilation, groups=12)
    hidden = F.relu(block.pointwise_norm(block.pointwise(F.relu(block.depthwise_norm(across)))))
    assert torch.allclose(block(images(8)), block.expand_norm(block.expand(hidden)) + images(8), atol=1e-6)


@torch.no_grad()
def test_without_an_operation_a_bottleneck_sees_one_position_at_a_time():
    block, x = made(mixing("identity", kernel=1)), images(8)
    alone = block(x[:, :, 2:3, 2:3])
    assert torch.allclose(block(x)[:, :, 2:3, 2:3], alone, atol=1e-6)


@torch.no_grad()
def test_a_zeroed_bottleneck_is_its_shortcut():
    assert torch.equal(zeroed(mixing("max_pool"))(images(8)), images(8))
    assert zeroed(mixing("max_pool", stride=2)).expand_norm.weight.eq(1).all()


# --- transformers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_first", [True, False])
def test_layers_of_a_vit_start_as_vits_and_those_of_a_bert_as_berts(norm_first):
    spec = EncoderLayerSpec(128, 4, 32, 512, 65, norm_first, "GELU", True, 0, 1e-6, 0.0, 0.0)
    block = made(spec)
    for linear, inputs, outputs in ((block.query, 128, 128), (block.ffn_in, 128, 512), (block.ffn_out, 512, 128)):
        expected = (2 / (inputs + outputs)) ** 0.5 if norm_first else 0.02
        assert linear.weight.std().item() == pytest.approx(expected, rel=0.05)


def test_patches_come_out_as_large_as_the_images_go_in():
    patches = made(PatchEmbeddingSpec(3, 256, 4, 32, 0.0)).patches(torch.randn(8, 3, 32, 32))
    assert patches.std().item() == pytest.approx(1, rel=0.1)


# --- residual networks ------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(("into", "out"), [(4, 10), (10, 4), (6, 6)])
def test_padded_shortcuts_keep_leading_channels_and_add_zeros_at_the_end(into, out):
    x = images(into)
    kept = x[:, : min(into, out), ::2, ::2]
    expected = torch.cat([kept, torch.zeros(2, max(out - into, 0), 3, 3)], 1).relu()
    for spec in (
        BasicSpec(into, 4, out, 2, 6, "ReLU", "pad", False),
        BottleneckSpec(into, 4, out, 2, 6, "ReLU", "pad", False),
    ):
        assert torch.equal(zeroed(spec)(x), expected)


@torch.no_grad()
@pytest.mark.parametrize("kind", [BasicSpec, BottleneckSpec])
def test_a_pooled_shortcut_averages_and_then_projects(kind):
    block = zeroed(kind(4, 4, 8, 2, 6, "ReLU", "pool", True))
    pooled = F.avg_pool2d(images(4), 2)
    assert torch.equal(block(images(4)), block.projection_norm(block.projection(pooled)).relu())
    assert block.projection.stride == (1, 1)


@torch.no_grad()
@pytest.mark.parametrize("kind", [BasicSpec, BottleneckSpec])
def test_a_projecting_shortcut_has_the_stride(kind):
    block = zeroed(kind(4, 4, 8, 2, 6, "ReLU", "conv", True))
    x = images(4)
    assert torch.equal(block(x), block.projection_norm(block.projection(x)).relu())
    assert block.projection.stride == (2, 2)


@torch.no_grad()
def test_a_basic_block_is_two_convolutions():
    block = made(BasicSpec(4, 6, 4, 1, 6, "ReLU", "conv", False))
    x = images(4)
    inner = block.norm1(F.conv2d(x, block.conv1.weight, padding=1)).relu()
    expected = (block.norm2(F.conv2d(inner, block.conv2.weight, padding=1)) + x).relu()
    assert torch.allclose(block(x), expected, atol=1e-6)


@torch.no_grad()
def test_a_bottleneck_is_three_convolutions_and_the_middle_one_has_the_stride():
    block = made(BottleneckSpec(4, 6, 4, 2, 6, "ReLU", "pad", False))
    x = images(4)
    inner = block.norm1(F.conv2d(x, block.conv1.weight)).relu()
    inner = block.norm2(F.conv2d(inner, block.conv2.weight, stride=2, padding=1)).relu()
    expected = (block.norm3(F.conv2d(inner, block.conv3.weight)) + x[:, :, ::2, ::2]).relu()
    assert torch.allclose(block(x), expected, atol=1e-6)


@torch.no_grad()
def test_a_residual_convolution_adds_its_input():
    plain, residual = (made(ConvSpec(4, 4, 3, 1, 6, "ReLU", residual)) for residual in (False, True))
    assert torch.equal(residual(images(4)), images(4) + plain(images(4)))


# --- ends -------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_head_mixes_after_pooling():
    head = made(HeadSpec(4, 8, 3, 6, "Hardswish", mix_channels=5, mix_bias=True))
    pooled = F.hardswish(head.norm(head.conv(images(4)))).mean((2, 3))
    expected = head.classifier(F.hardswish(head.mix(pooled)))
    assert torch.equal(head(images(4)), expected)
    assert made(HeadSpec(4, 8, 3, 6, "Hardswish", mix_channels=5)).mix.bias is None


@torch.no_grad()
def test_a_classifier_pools():
    classifier = made(ClassifierSpec(4, 3, 6))
    assert torch.equal(classifier(images(4)), classifier.classifier(images(4).mean((2, 3))))


def test_a_max_pool_is_torchs():
    assert torch.equal(made(MaxPoolSpec(4, 3, 2, 7))(images(4, 7)), F.max_pool2d(images(4, 7), 3, 2, 1))


def test_a_resize_leaves_images_of_its_size_alone():
    x = images(3, 8)
    resize = made(ResizeSpec(3, 8))
    assert resize(x) is x
    assert resize(images(3, 12)).shape == (2, 3, 8, 8)
