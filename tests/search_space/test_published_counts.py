"""Networks of the papers, counted: MACs to 0.01 M, parameters to the unit where they are published so.

Parameters include normalisation scale and shift and the classifier; MACs are those of convolutions and fully connected
layers at the stated resolution.
"""

import pytest

from predictors.cost import macs, params
from search_space.families import mobilenet, proxyless, resnet
from search_space.plugins import load_family


def counts(space, architecture) -> tuple[float, float]:
    """(MACs in millions, parameters in millions)."""
    return macs(space, architecture) / 1e6, params(space, architecture) / 1e6


def is_close(counted, million_macs, million_params) -> bool:
    return counted == (pytest.approx(million_macs, abs=0.01), pytest.approx(million_params, abs=0.001))


# --- BigNAS and AttentiveNAS ------------------------------------------------------------------------

# resolution; widths of stem, seven stages and head; kernels, expansions, depths of the stages; M MACs, M parameters.
ATTENTIVENAS = {
    "A0": (192, (16, 16, 24, 32, 64, 112, 192, 216, 1792), "3333333", "1444466", "1333331", 203.39, 8.954),
    "A1": (224, (16, 16, 24, 32, 64, 112, 192, 216, 1984), "3335353", "1444466", "1333331", 279.24, 9.453),
    "A2": (224, (16, 16, 24, 32, 64, 112, 200, 224, 1984), "3333353", "1454466", "1333341", 316.73, 11.150),
    "A3": (224, (16, 16, 24, 32, 64, 112, 208, 224, 1984), "3335333", "1444466", "2334351", 356.52, 12.785),
    "largest": (288, (24, 24, 32, 40, 72, 128, 216, 224, 1984), "5555555", "1666666", "2566882", 1939.34, 23.404),
}


def staged(resolution, widths, kernels, expansions, depths):
    """Values of a network whose choices are per stage."""
    values = {"resolution": resolution, "stem_width": widths[0], "head_width": widths[-1]}
    for s, row in enumerate(zip(widths[1:-1], kernels, expansions, depths, strict=True), 1):
        names = (f"stage{s}_{what}" for what in ("width", "kernel", "expansion", "depth"))
        values |= dict(zip(names, map(int, row), strict=True))
    return values


@pytest.mark.parametrize("name", ATTENTIVENAS)
def test_attentivenas(name):
    *described, million_macs, million_params = ATTENTIVENAS[name]
    space = load_family("mobilenet", "attentivenas")
    assert is_close(counts(space, space.architecture(**staged(*described))), million_macs, million_params)


def test_a0_is_the_smallest_network_of_attentivenas():
    space = load_family("mobilenet", "attentivenas")
    assert space.architecture(**staged(*ATTENTIVENAS["A0"][:-2])) == space.smallest()
    assert space.architecture(**staged(*ATTENTIVENAS["largest"][:-2])) == space.largest()


@pytest.mark.parametrize(
    ("which", "resolution", "million_macs", "million_params"),
    [
        ("smallest", 192, 206.74, 3.747),
        ("smallest", 224, 280.81, 3.747),
        ("largest", 320, 1843.03, 10.893),
        ("largest", 224, 904.64, 10.893),
    ],
)
def test_bignas(which, resolution, million_macs, million_params):
    space = load_family("mobilenet", "bignas")
    values = {**getattr(space, which)().values, "resolution": resolution}
    assert is_close(counts(space, space.architecture(**values)), million_macs, million_params)


# --- ProxylessNAS -----------------------------------------------------------------------------------


def proxyless_network(operation):
    space = load_family("proxyless", "imagenet")
    operations = {choice.name: operation for choice in space.choices if choice.name != "width"}
    return space, space.architecture(width=1.0, **operations)


@pytest.mark.parametrize(
    ("operation", "million_macs", "million_params"),
    [("k3e3", 257.42, 3.192), ("k3e6", 472.62, 4.685), ("k7e6", 606.59, 5.103)],
)
def test_proxyless_with_one_operation_everywhere(operation, million_macs, million_params):
    assert is_close(counts(*proxyless_network(operation)), million_macs, million_params)


def test_the_ends_of_the_proxyless_space():
    space = load_family("proxyless", "imagenet")
    assert is_close(counts(space, space.smallest()), 102.53, 2.155)
    assert space.largest() == proxyless_network("k7e6")[1]


def test_the_proxyless_space_has_21_blocks_of_which_15_can_be_left_out():
    space = load_family("proxyless", "imagenet")
    blocks = [choice for choice in space.choices if choice.name != "width"]
    assert len(blocks) == 21
    assert sum(choice.options[0] == "zero" for choice in blocks) == 15
    assert space.size() == 6**6 * 7**15


def test_proxyless_mobile():
    space = proxyless.fixed(proxyless.PUBLISHED["proxyless_mobile"], "proxyless_mobile")
    assert is_close(counts(space, space.smallest()), 320.43, 4.0805)


# --- fixed networks ---------------------------------------------------------------------------------

# Parameters are those that torchvision (MobileNet, MnasNet, ResNet, EfficientNet) prints, and, for CIFAR, those of
# option A with 16, 32 and 64 channels. Its MACs have three digits.
MOBILENETS = {
    "mobilenet_v2": (3_504_872, 0.301),
    "mobilenet_v3_large": (5_483_032, 0.217),
    "mobilenet_v3_small": (2_542_856, 0.057),
    "mnasnet_b1": (4_383_312, 0.314),
    "efficientnet_b0": (5_288_548, 0.386),
    "efficientnet_b1": (7_794_184, 0.687),
    "efficientnet_b2": (9_109_994, None),
    "efficientnet_b3": (12_233_232, None),
    "efficientnet_b4": (19_341_616, None),
    "efficientnet_b7": (66_347_960, None),
}
RESNETS = {
    "resnet18": (11_689_512, 1.814),
    "resnet34": (21_797_672, 3.664),
    "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801),
    "resnet152": (60_192_808, 11.514),
    "wide_resnet50_2": (68_883_240, 11.398),
    "resnet20_cifar": (269_722, None),
    "resnet56_cifar": (853_018, None),
}


@pytest.mark.parametrize(
    ("family", "name", "published"),
    [
        *((mobilenet, name, published) for name, published in MOBILENETS.items()),
        *((resnet, name, published) for name, published in RESNETS.items()),
    ],
    ids=[*MOBILENETS, *RESNETS],
)
def test_published_networks(family, name, published):
    space = family.fixed(family.PUBLISHED[name], name)
    assert space.size() == 1
    assert params(space, space.largest()) == published[0]
    assert published[1] is None or round(macs(space, space.largest()) / 1e9, 3) == published[1]


def test_the_largest_network_of_resnet50_is_torchvisions():
    space = load_family("resnet", "resnet50")
    assert params(space, space.largest()) == 25_557_032
    assert macs(space, space.largest()) == pytest.approx(4.089e9, abs=0.5e6)


@pytest.mark.parametrize(("depth", "expected"), [(3, 269_722), (9, 853_018)])
def test_resnet20_and_resnet56_are_in_the_cifar_space(depth, expected):
    space = load_family("resnet", "cifar")
    values = {**space.largest().values, **{f"stage{s}_depth": depth for s in (1, 2, 3)}}
    assert params(space, space.architecture(**values)) == expected


def test_the_largest_ofa_resnet50_has_61_convolutions():
    """Those that SimQ-NAS gives a bit width each."""
    space = load_family("resnet", "ofa_resnet50")
    parts = [name for layer in space.layers(space.largest()).values() for name in layer.parts()]
    assert sum(name.startswith("conv") or name == "projection" for name in parts) == 61
