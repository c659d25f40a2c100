"""Every kind of image block in a bundle: it loads with torch alone and computes the same, and so does its ONNX file."""

import numpy as np
import pytest
import torch

from export.bundle import BundleContents, write_bundle
from export.formats.onnx.format import write
from search_space.layers import ResizeSpec
from supernet.network import build_network
from tests.tiers import mostly_thorough
from winnow.testing.families import buildable

# Together these have every block file of image networks; checked by the last test.
NETWORKS = [
    ("mobilenet", "attentivenas"),
    ("proxyless", "cifar"),
    ("resnet", "cifar"),
    ("proxyless", "cifar_operations"),
    ("resnet", "ofa_resnet50"),
]
# One family on every run.
TRIED = mostly_thorough(NETWORKS, NETWORKS[1])


def network_of(family, preset):
    """A random network of the preset, of its lowest resolution where that is a choice."""
    space = buildable(family, preset)
    values = space.sample(np.random.default_rng(0)).values
    if "resolution" in values:
        values["resolution"] = space.choices[0].options[0]
    layers = space.layers(space.architecture(**values))
    torch.manual_seed(0)
    return space, layers, build_network(layers).eval()


@pytest.mark.parametrize(("family", "preset"), TRIED)
def test_a_bundle_computes_what_the_network_does(family, preset, tmp_path):
    space, layers, network = network_of(family, preset)
    images = torch.randn(8, space.takes.channels, space.takes.size, space.takes.size)
    labels = torch.randint(0, space.takes.classes, (8,))
    bundle = write_bundle(
        BundleContents(network, layers, {"name": preset}, "# A network\n"), images, labels, tmp_path / "b"
    )
    assert bundle.report["formats"]["safetensors"]["max_abs_difference"] == 0
    assert bundle.report["formats"]["onnx"]["max_abs_difference"] <= 1e-4


@pytest.mark.parametrize(("size", "to"), mostly_thorough([(32, 24), (24, 32), (33, 20), (96, 56)], (33, 20)))
def test_resizing_in_onnx_is_torchs(size, to, tmp_path):
    import onnxruntime

    network = build_network({"resize": ResizeSpec(3, to)})
    images = torch.randn(2, 3, size, size)
    write(network, images, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    resized = session.run(None, {"input": images.numpy()})[0]
    assert resized.shape == (2, 3, to, to)
    assert np.abs(resized - network(images).numpy()).max() < 1e-4


def test_every_kind_of_image_block_is_in_one_of_these_bundles():
    kinds = {layer.kind for names in NETWORKS for layer in network_of(*names)[1].values()}
    expected = {"resize", "conv", "mbconv", "mixing", "head", "basic", "bottleneck", "classifier", "max_pool"}
    assert kinds == expected
