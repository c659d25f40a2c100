"""Channels that shortcuts and depthwise convolutions tie are ordered together, in any network of their kind."""

import numpy as np
import pytest
import torch
from torch import nn

from search_space.families import mobilenet, resnet
from search_space.families._mobilenet_tables import EFFICIENT, HARD, MobileNetStage, MobileNetTable
from search_space.families.resnet import ResNetStage, ResNetTable
from supernet.importance import SCORES, Axis, axes, order_by_importance, streams
from supernet.network import Supernet, extract
from tests.tiers import mostly_thorough

SIZE = 16


def random_mobile(rng: np.random.Generator) -> MobileNetTable:
    """One or two options everywhere, the larger twice the smaller, so that both ends have the same shortcuts."""

    def options(*known: int) -> tuple[int, ...]:
        width = int(rng.choice(known))
        return (width, 2 * width)

    stages = []
    for _ in range(rng.integers(1, 4)):
        expansions = (float(rng.choice([1, 2, 3])),)
        shape = (int(rng.integers(1, 4)),), (int(rng.choice([3, 5])),), expansions, int(rng.integers(1, 3))
        stages.append(MobileNetStage(options(3, 4, 6), *shape, squeeze=bool(rng.integers(2))))
    return MobileNetTable(
        resolutions=(SIZE,),
        classes=5,
        activation=str(rng.choice(["ReLU", "SiLU", "Hardswish"])),
        stem=options(3, 4, 6),
        stem_stride=1,
        stages=tuple(stages),
        head=options(8, 16),
        choose_per=str(rng.choice(["block", "stage"])),
        shortcuts=str(rng.choice(["everywhere", "same_shape"])),
        squeeze=(EFFICIENT, HARD)[rng.integers(2)],
        head_expansion=int(rng.choice([0, 2])),
        mix_bias=bool(rng.integers(2)),
        expand_always=bool(rng.integers(2)),
    )


def random_residual(rng: np.random.Generator) -> ResNetTable:
    """As `random_mobile`."""
    stages = []
    for _ in range(rng.integers(1, 4)):
        width = int(rng.choice([4, 8, 12]))
        depth, stride = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        stages.append(ResNetStage((width, 2 * width), (depth,), (float(rng.choice([0.25, 0.5, 1])),), stride))
    kind = str(rng.choice(["small", "large", "deep"]))
    deep = kind == "deep"
    return ResNetTable(
        resolution=SIZE,
        classes=5,
        block=str(rng.choice(["basic", "bottleneck"])),
        shortcut=str(rng.choice(["conv", "pool"])),
        stem_kind=kind,
        stem=(4, 8),
        stages=tuple(stages),
        stem_inner=(3, 6) if deep else (),
        stem_depths=(3,) if deep else (),
    )


def made(seed: int) -> tuple[Supernet, torch.Tensor]:
    """A random supernet none of whose numbers is one or zero by construction, and a batch."""
    rng = np.random.default_rng(seed)
    table = random_mobile(rng) if seed % 2 else random_residual(rng)
    space = mobilenet.fixed(table) if isinstance(table, MobileNetTable) else resnet.fixed(table)
    torch.manual_seed(seed)
    supernet = Supernet(space).eval()
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for module in supernet.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(1.0, 2.0)
    return supernet, torch.randn(4, 3, SIZE, SIZE)


def answers(supernet: Supernet, x: torch.Tensor, architecture=None) -> torch.Tensor:
    with torch.no_grad():
        return supernet(x, architecture or supernet.space.largest())


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference, as a share of the largest logit where that is above 1."""
    return float((one - other).abs().max() / max(1.0, float(other.abs().max())))


SEEDS = mostly_thorough(range(40), *range(12))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("seed", SEEDS)
def test_an_order_changes_no_output_and_is_by_its_score(seed, score):
    supernet, x = made(seed)
    expected = answers(supernet, x)
    orders = order_by_importance(supernet, [x], score)
    assert any(order != sorted(order) for order in orders.values()), "nothing moved"
    assert distance(answers(supernet, x), expected) <= 1e-5
    # Rounding may swap scores that are equal; scores of random weights are not.
    again = order_by_importance(supernet, [x], score)
    assert all(order == sorted(order) for order in again.values())


def silence(supernet: Supernet, rng: np.random.Generator) -> None:
    """Of every axis, let only as many random groups be read as the smallest network has."""
    smallest = supernet.space.layers(supernet.space.smallest())
    for axis in axes(supernet):
        kept = int(smallest[axis.slot].fields()[axis.field])
        silent = torch.from_numpy(rng.permutation(axis.groups)[kept:].copy())
        with torch.no_grad():
            for tensor, dim in axis.members:
                if dim == 1:
                    tensor.index_fill_(1, silent, 0.0)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_narrow_network_is_what_matters_of_the_wide_one(seed, score):
    supernet, x = made(seed)
    silence(supernet, np.random.default_rng(seed))
    expected, smallest = answers(supernet, x), supernet.space.smallest()
    assert distance(answers(supernet, x, smallest), expected) > 1e-4, "the first channels matter by chance"
    order_by_importance(supernet, [x], score)
    assert distance(answers(supernet, x, smallest), expected) <= 1e-5


def test_a_stages_score_is_the_sum_over_all_that_reads_it():
    """By hand: mean |activation| of each channel times the norm of the weights that read it, in every block."""
    table = ResNetTable(
        resolution=SIZE,
        classes=5,
        block="basic",
        shortcut="conv",
        stem_kind="small",
        stem=(4,),
        stages=(ResNetStage((6, 12), (3,), (1.0,), 1), ResNetStage((8,), (1,), (1.0,), 2)),
    )
    torch.manual_seed(0)
    supernet = Supernet(resnet.fixed(table)).eval()
    stream, x = next(iter(streams(supernet))), torch.randn(4, 3, SIZE, SIZE)
    assert (stream.slot, stream.field, stream.groups) == ("stage1_block1", "out_channels", 12)
    read = [(reader.slot, reader.name) for reader in stream.readers]
    assert read == [
        ("stage1_block2", "conv1"),
        ("stage1_block3", "conv1"),
        ("stage2_block1", "conv1"),
        ("stage2_block1", "projection"),
    ]
    network = extract(supernet, supernet.space.largest())
    names, expected = list(supernet.space.capacity()), torch.zeros(12)
    with torch.no_grad():
        out = x
        for name, block in zip(names, network, strict=True):
            for own, module in block.named_children():
                if (name, own) in read:
                    expected += out.abs().mean((0, 2, 3)) * module.weight.movedim(1, 0).flatten(1).norm(dim=1)
            out = block(out)
    order = order_by_importance(supernet, [x])["stage1_block1.out_channels"]
    assert order == torch.argsort(expected, descending=True).tolist()


def members(axis: Axis) -> set[int]:
    return {id(tensor) for tensor, _ in axis.members}


def test_what_a_shortcut_fills_up_with_zeros_stays_as_it_is():
    stages = (ResNetStage((4, 8), (2,), (1.0,), 1), ResNetStage((8, 16), (2,), (1.0,), 2))
    supernet = Supernet(resnet.fixed(ResNetTable(SIZE, 5, "basic", "pad", "small", (4, 8), stages)))
    assert not list(streams(supernet))
    assert {axis.field for axis in axes(supernet)} == {"hidden_channels"}


def test_channels_that_no_network_has_fewer_of_stay_as_they_are():
    """Jobs of before would have other weights."""
    stages = (ResNetStage((8,), (1, 2), (0.5, 1.0), 1), ResNetStage((8, 16), (2,), (1.0,), 2))
    supernet = Supernet(resnet.fixed(ResNetTable(SIZE, 5, "basic", "conv", "small", (8,), stages)))
    assert [axis.slot for axis in streams(supernet)] == ["stage2_block1"]


def test_a_depthwise_convolution_ties_what_it_takes_and_gives():
    stage = MobileNetStage((8,), (1,), (3,), (1.0,), 1, squeeze=True)
    table = MobileNetTable((SIZE,), 5, "ReLU", (4, 8), 1, (stage,), (16,), shortcuts="same_shape", squeeze=EFFICIENT)
    supernet = Supernet(mobilenet.fixed(table))
    block = supernet.slot("stage1_block1").block
    stem = next(iter(streams(supernet)))
    assert stem.slot == "stem"
    assert {id(block.depthwise.weight), id(block.squeeze.weight), id(block.excite.bias)} <= members(stem)
