"""Contract of an export format: what was written loads in a clean process and computes the same."""

from __future__ import annotations

import pytest
import torch

from export.bundle import Bundle, BundleContents, write_bundle
from plugins import kinds
from search_space.plugins import load_family
from supernet.network import build_network
from winnow.testing.contract import Contract


class FormatContract(Contract):
    """What holds of every export format."""

    @pytest.fixture(scope="class")
    @classmethod
    def bundle(cls, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
        """A bundle with every format that is there."""
        torch.manual_seed(0)
        space = load_family("mobilenet", "digits")
        layers = space.layers(space.smallest())
        subject = BundleContents(build_network(layers).eval(), layers, {"name": "contract"}, "# A network\n")
        inputs, labels = torch.randn(16, 1, 8, 8), torch.randint(0, 10, (16,))
        return write_bundle(subject, inputs, labels, tmp_path_factory.mktemp("exports") / "contract")

    def test_it_says_what_it_is(self, plugin: str) -> None:
        """In a sentence, for the catalogue."""
        assert kinds.FORMATS.options(plugin).MEANING.endswith(".")

    def test_it_has_a_tolerance_and_a_way_back(self, plugin: str) -> None:
        """Which a process without Winnow runs."""
        module = kinds.FORMATS.load(plugin)
        assert 0 <= module.TOLERANCE <= 1e-2
        assert "def reload(folder)" in module.RELOAD
        compile(module.RELOAD, plugin, "exec")

    def test_it_is_in_every_bundle(self, bundle: Bundle, plugin: str) -> None:
        """Nobody lists formats."""
        assert plugin in bundle.report["formats"]

    def test_a_small_network_comes_back(self, bundle: Bundle, plugin: str) -> None:
        """The same but for rounding."""
        report = bundle.report["formats"][plugin]
        assert report["max_abs_difference"] <= report["tolerance"]
        assert report["same_predictions"]
