"""Contract of an export format: what was written loads in a clean process and computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from export.bundle import Bundle, BundleContents, write_bundle
from export.tools import missing
from job.formats import Subject, refusal, unasked
from plugins import kinds
from search_space.inputs import ImageInput, TokenInput
from search_space.plugins import load_family
from search_space.space import SearchSpace
from supernet.network import build_network
from winnow.testing.contract import Contract

# A format is tried with the first of them that it can hold.
SPACES = (("mobilenet", "digits"), ("vit", "cifar"), ("llama", "tiny"))


class FormatContract(Contract):
    """What holds of every export format."""

    @pytest.fixture(scope="class")
    @classmethod
    def bundles(cls, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, torch.dtype], Bundle]:
        """Bundles that were written already, by format and type of weights."""
        return {}

    @pytest.fixture
    def bundle(
        self, plugin: str, bundles: dict[tuple[str, torch.dtype], Bundle], tmp_path_factory: pytest.TempPathFactory
    ) -> Bundle:
        """A bundle of a small network that names the format."""
        return _made(plugin, torch.float32, bundles, tmp_path_factory)

    @pytest.fixture
    def bundle_of_16_bits(
        self, plugin: str, bundles: dict[tuple[str, torch.dtype], Bundle], tmp_path_factory: pytest.TempPathFactory
    ) -> Bundle:
        """A bundle of a small network with 16-bit weights."""
        return _made(plugin, torch.bfloat16, bundles, tmp_path_factory)

    def test_it_says_what_it_is(self, plugin: str) -> None:
        """The catalogue shows a sentence about the format."""
        assert kinds.FORMATS.options(plugin).MEANING.endswith(".")

    def test_it_has_a_tolerance_and_a_way_back(self, plugin: str) -> None:
        """A process without Winnow runs the way back."""
        module = kinds.FORMATS.load(plugin)
        assert 0 <= module.TOLERANCE <= 1e-2
        assert "def reload(folder" in module.RELOAD
        compile(module.RELOAD, plugin, "exec")

    def test_it_names_what_loading_imports(self, bundle: Bundle, plugin: str) -> None:
        """The card says of each package that it imported which versions were tested."""
        packages, found = kinds.FORMATS.load(plugin).PACKAGES, _entry(bundle, plugin)
        assert isinstance(packages, tuple)
        assert found["versions"].keys() <= set(packages)
        card = (bundle.folder / "README.md").read_text()
        assert all(f"| {name} |" in card and f" {version} |" in card for name, version in found["versions"].items())

    def test_it_has_a_folder_of_its_own(self, bundle: Bundle, plugin: str) -> None:
        """The folder holds all files that loading needs."""
        assert any((bundle.folder / plugin).iterdir())

    def test_a_small_network_comes_back(self, bundle: Bundle, plugin: str) -> None:
        """The network computes the same but for rounding."""
        report = _entry(bundle, plugin)
        assert report["max_abs_difference"] <= report["tolerance"]
        assert report["same_predictions"]

    def test_a_network_of_16_bits_comes_back(self, bundle_of_16_bits: Bundle, plugin: str) -> None:
        """The network has 16 bits, or what the format's `REFERENCE` names."""
        report = _entry(bundle_of_16_bits, plugin)
        assert report["max_abs_difference"] <= report["tolerance"]

    def test_a_format_for_everybody_is_in_every_bundle(self, plugin: str) -> None:
        """A format that names no users can hold every network."""
        if plugin in unasked():
            assert not hasattr(kinds.FORMATS.options(plugin), "refusal")


def _entry(bundle: Bundle, plugin: str) -> dict[str, Any]:
    """A format's first entry in the report: of several files the one in full precision."""
    entries: dict[str, dict[str, Any]] = bundle.report["formats"]
    return next(found for name, found in entries.items() if name.split()[0] == plugin)


def _made(
    plugin: str,
    dtype: torch.dtype,
    bundles: dict[tuple[str, torch.dtype], Bundle],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    if (plugin, dtype) not in bundles:
        if (why := missing(kinds.FORMATS.load(plugin))) is not None:
            pytest.skip(why)
        space = next(space for space in (load_family(*name) for name in SPACES) if _holds(plugin, space))
        bundles[plugin, dtype] = small_bundle(tmp_path_factory.mktemp("exports") / "contract", dtype, space, plugin)
    return bundles[plugin, dtype]


def _holds(plugin: str, space: SearchSpace) -> bool:
    return refusal(plugin, Subject(space.name, space.layers(space.smallest()))) is None


def small_bundle(folder: Path, dtype: torch.dtype, space: SearchSpace, *formats: str) -> Bundle:
    """A small network in these formats."""
    torch.manual_seed(0)
    layers = space.layers(space.smallest())
    facts = {"space": space.name, "dtype": str(dtype).removeprefix("torch.")}
    network = build_network(layers).to(dtype).eval()
    subject = BundleContents(network, layers, facts, "# A network\n", formats=formats)
    inputs, labels = _samples(space)
    return write_bundle(subject, inputs, labels, folder)


def _samples(space: SearchSpace) -> tuple[torch.Tensor, torch.Tensor]:
    takes = space.takes
    if isinstance(takes, TokenInput):
        texts = torch.randint(1, takes.vocab, (4, 12))
        return texts, torch.roll(texts, -1, 1)
    assert isinstance(takes, ImageInput)
    return torch.randn(16, takes.channels, takes.size, takes.size), torch.randint(0, 10, (16,))
