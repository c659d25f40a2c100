"""Contract of an export format: what was written loads in a clean process and computes the same."""

import pytest
import torch

from export.bundle import BundleContents, write_bundle
from plugins import kinds
from search_space import SearchSpace, plugins
from supernet.network import build_network

NAMES = kinds.FORMATS.names()
SPACE: SearchSpace = plugins.load_family("mobilenet", "digits")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle with every format that is there."""
    torch.manual_seed(0)
    layers = SPACE.layers(SPACE.smallest())
    subject = BundleContents(build_network(layers).eval(), layers, {"name": "contract"}, "# A network\n")
    inputs, labels = torch.randn(16, 1, 8, 8), torch.randint(0, 10, (16,))
    return write_bundle(subject, inputs, labels, tmp_path_factory.mktemp("exports") / "contract")


@pytest.mark.parametrize("name", NAMES)
def test_a_format_has_a_tolerance_and_a_way_back(name):
    module = kinds.FORMATS.load(name)
    assert 0 <= module.TOLERANCE <= 1e-2
    assert "def reload(folder)" in module.RELOAD
    compile(module.RELOAD, name, "exec")


def test_every_format_is_in_a_bundle(bundle):
    assert sorted(bundle.report["formats"]) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_small_network_comes_back_from_every_format(bundle, name):
    report = bundle.report["formats"][name]
    assert report["max_abs_difference"] <= report["tolerance"]
    assert report["same_predictions"]
