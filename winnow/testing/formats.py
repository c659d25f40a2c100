"""Contract of an export format: what was written loads in a clean process and computes the same."""

from __future__ import annotations

from pathlib import Path

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
        return small_bundle(tmp_path_factory.mktemp("exports") / "contract", torch.float32)

    @pytest.fixture(scope="class")
    @classmethod
    def bundle_of_16_bits(cls, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
        """The same of a network with 16-bit weights."""
        return small_bundle(tmp_path_factory.mktemp("exports") / "contract", torch.bfloat16)

    def test_it_says_what_it_is(self, plugin: str) -> None:
        """In a sentence, for the catalogue."""
        assert kinds.FORMATS.options(plugin).MEANING.endswith(".")

    def test_it_has_a_tolerance_and_a_way_back(self, plugin: str) -> None:
        """Which a process without Winnow runs."""
        module = kinds.FORMATS.load(plugin)
        assert 0 <= module.TOLERANCE <= 1e-2
        assert "def reload(folder)" in module.RELOAD
        compile(module.RELOAD, plugin, "exec")

    def test_it_names_what_loading_imports(self, bundle: Bundle, plugin: str) -> None:
        """The card says of each package that it imported which versions were tested."""
        packages, versions = kinds.FORMATS.load(plugin).PACKAGES, bundle.report["formats"][plugin]["versions"]
        assert isinstance(packages, tuple)
        assert versions.keys() <= set(packages)
        card = (bundle.folder / "README.md").read_text()
        assert all(f"| {name} |" in card and f" {version} |" in card for name, version in versions.items())

    def test_it_is_in_every_bundle(self, bundle: Bundle, plugin: str) -> None:
        """Nobody lists formats."""
        assert plugin in bundle.report["formats"]

    def test_a_small_network_comes_back(self, bundle: Bundle, plugin: str) -> None:
        """The same but for rounding."""
        report = bundle.report["formats"][plugin]
        assert report["max_abs_difference"] <= report["tolerance"]
        assert report["same_predictions"]

    def test_a_network_of_16_bits_comes_back(self, bundle_of_16_bits: Bundle, plugin: str) -> None:
        """In 16 bits, or as the format's `REFERENCE` has it."""
        report = bundle_of_16_bits.report["formats"][plugin]
        assert report["max_abs_difference"] <= report["tolerance"]


def small_bundle(folder: Path, dtype: torch.dtype) -> Bundle:
    """A small network in every format that is there."""
    torch.manual_seed(0)
    space = load_family("mobilenet", "digits")
    layers = space.layers(space.smallest())
    facts = {"name": "contract", "dtype": str(dtype).removeprefix("torch.")}
    subject = BundleContents(build_network(layers).to(dtype).eval(), layers, facts, "# A network\n")
    inputs, labels = torch.randn(16, 1, 8, 8), torch.randint(0, 10, (16,))
    return write_bundle(subject, inputs, labels, folder)
