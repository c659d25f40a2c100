"""The bundle: whole or not at all, and proven in a clean process."""

import ast
import json
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from export.bundle import BundleContents, sha256_of, write_bundle
from export.formats.safetensors.format import LOAD_PY, needs, network_source
from export.tools import NoRoom
from export.verify import VerificationError, verify
from job.formats import unasked
from search_space.packages import own_packages
from search_space.plugins import load_family
from supernet.network import build_network

SPACE = load_family("mobilenet", "digits")


def subject() -> BundleContents:
    torch.manual_seed(0)
    layers = SPACE.layers(SPACE.smallest())
    return BundleContents(
        build_network(layers).eval(), layers, {"name": "digits", "id": SPACE.smallest().id}, "# A card\n"
    )


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, 1, 8, 8, generator=generator), torch.randint(0, 10, (16,), generator=generator)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(subject(), *samples(), tmp_path_factory.mktemp("exports") / "digits")


@pytest.fixture
def copied(bundle, tmp_path):
    """The bundle's folder, free to be tampered with."""
    return shutil.copytree(bundle.folder, tmp_path / "copy")


# --- what is in it ----------------------------------------------------------------------------------


def test_a_bundle_has_every_file_that_was_promised(bundle):
    assert {path.name for path in bundle.folder.iterdir()} == {
        "README.md",
        "SHA256SUMS",
        "architecture.json",
        "load.py",
        "model.onnx",
        "model.safetensors",
        "network.py",
        "samples.safetensors",
        "verification.json",
    }


def test_the_archive_has_the_files_of_the_folder(bundle):
    with tarfile.open(bundle.archive) as tar:
        packed = {name.removeprefix("digits/") for name in tar.getnames() if name != "digits"}
    assert packed == {path.name for path in bundle.folder.iterdir()}


def test_the_archives_digest_and_size_are_reported(bundle):
    assert bundle.sha256 == sha256_of(bundle.archive)
    assert bundle.size_bytes == bundle.archive.stat().st_size


def test_the_card_lists_the_digest_of_every_other_file(bundle):
    card = (bundle.folder / "README.md").read_text()
    assert card.startswith("# A card\n")
    for path in bundle.folder.iterdir():
        if path.name not in ("README.md", "SHA256SUMS"):
            assert f"| `{path.name}` | {path.stat().st_size} | `{sha256_of(path)}` |" in card


def test_architecture_json_has_the_facts_and_the_layers(bundle):
    told = json.loads((bundle.folder / "architecture.json").read_text())
    assert told["id"] == SPACE.smallest().id
    assert [layer["slot"] for layer in told["layers"]] == list(SPACE.layers(SPACE.smallest()))


def test_the_report_is_stored_in_the_bundle(bundle):
    assert json.loads((bundle.folder / "verification.json").read_text()) == bundle.report


def test_the_report_has_the_accuracy_on_the_samples(bundle):
    inputs, labels = samples()
    with torch.no_grad():
        expected = (subject().network(inputs).argmax(1) == labels).float().mean().item()
    assert bundle.report["samples"] == 16
    for name in unasked():
        assert bundle.report["formats"][name]["accuracy"] == pytest.approx(expected)


def test_the_reloaded_weights_compute_exactly_the_same(bundle):
    assert bundle.report["formats"]["safetensors"]["max_abs_difference"] == 0.0


def test_nothing_else_is_left_beside_the_bundle(bundle):
    assert {path.name for path in bundle.folder.parent.iterdir()} == {"digits", "digits.tar.gz"}


# --- load.py and network.py -------------------------------------------------------------------------


def test_load_py_has_about_ten_lines():
    assert 8 <= len(LOAD_PY.strip().splitlines()) <= 12


@pytest.mark.thorough
def test_load_py_runs_by_itself_with_torch_and_safetensors_alone(bundle, tmp_path):
    script = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[2:]:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[1])
import torch
from load import model
with torch.no_grad():
    print(model(torch.ones(1, 1, 8, 8)).double().sum().item())
"""
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", script, str(bundle.folder), *own_packages()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    with torch.no_grad():
        assert float(done.stdout) == subject().network(torch.ones(1, 1, 8, 8)).double().sum().item()


def test_network_source_imports_torch_and_the_standard_library_alone():
    source = network_source([type(block) for block in subject().network.children()])
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert {name.split(".")[0] for name in imported} == {"torch", "collections", "dataclasses", "typing"}


def test_network_source_builds_the_network():
    space: dict = {}
    exec(network_source([type(block) for block in subject().network.children()]), space)
    layers = [{"slot": slot, "kind": spec.kind, "fields": spec.fields()} for slot, spec in subject().layers.items()]
    built = space["build"](layers)
    built.load_state_dict(subject().network.state_dict())
    x, _ = samples()
    with torch.no_grad():
        assert torch.equal(built.eval()(x), subject().network(x))


# --- whole or not at all ----------------------------------------------------------------------------


def with_layers_of_another_network() -> BundleContents:
    """What the safetensors format cannot reload: the layers do not describe the network."""
    good = subject()
    return BundleContents(good.network, SPACE.layers(SPACE.largest()), good.facts, good.card)


@pytest.mark.thorough
def test_a_format_that_does_not_reload_leaves_nothing_behind(tmp_path):
    with pytest.raises(VerificationError, match="safetensors does not load in a clean process"):
        write_bundle(with_layers_of_another_network(), *samples(), tmp_path / "broken")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
def test_a_failed_export_leaves_the_bundle_that_was_there(bundle, tmp_path):
    folder = shutil.copytree(bundle.folder, tmp_path / "digits")
    before = {path.name: sha256_of(path) for path in folder.iterdir()}
    with pytest.raises(VerificationError):
        write_bundle(with_layers_of_another_network(), *samples(), folder)
    assert {path.name: sha256_of(path) for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_a_format_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    def full_disk(network, example, folder):
        (folder / "model.onnx").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("export.formats.onnx.format.write", full_disk)
    with pytest.raises(NoRoom, match="No space left"):
        write_bundle(subject(), *samples(), tmp_path / "full")
    assert list(tmp_path.iterdir()) == []


# --- verification -----------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_changed_weight_is_refused(copied):
    tensors = load_file(copied / "model.safetensors")
    tensors["head.classifier.bias"][0] += 1e-3
    save_file(tensors, copied / "model.safetensors")
    with pytest.raises(VerificationError, match="reloaded safetensors differs from the network"):
        verify(copied, subject().network, *samples(), ["safetensors"])


@pytest.mark.thorough
def test_a_cut_file_is_refused(copied):
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(VerificationError, match="safetensors does not load in a clean process"):
        verify(copied, subject().network, *samples(), ["safetensors"])


def test_the_output_of_another_network_is_refused(copied):
    other = subject().network
    with torch.no_grad():
        other.head.classifier.weight.neg_()
    with pytest.raises(VerificationError, match="reloaded onnx differs from the network"):
        verify(copied, other, *samples(), ["onnx"])


@pytest.mark.thorough
def test_outputs_that_are_not_numbers_are_refused(copied):
    tensors = load_file(copied / "model.safetensors")
    tensors["head.classifier.bias"].fill_(np.nan)
    save_file(tensors, copied / "model.safetensors")
    with pytest.raises(VerificationError, match="differs from the network"):
        verify(copied, subject().network, *samples(), ["safetensors"])


def test_an_export_that_needs_winnow_is_refused(copied, monkeypatch):
    monkeypatch.setattr(
        "export.formats.safetensors.format.RELOAD",
        "def reload(folder):\n    import sys, types\n    sys.modules['supernet.network'] = types.ModuleType('x')\n"
        "    import numpy\n    return lambda x: numpy.zeros((len(x), 10), dtype='float32')\n",
    )
    with pytest.raises(VerificationError, match=r"imported \['supernet'\]; an export must not need Winnow"):
        verify(copied, subject().network, *samples(), ["safetensors"])


def test_a_bundle_says_what_loading_needs():
    def needed(family: str, preset: str) -> str:
        space = load_family(family, preset)
        with torch.device("meta"):
            network = build_network(space.layers(space.smallest()))
        return needs([type(block) for block in network])

    assert needed("mobilenet", "digits") == "torch and safetensors"
    assert needed("bert", "tiny") == "torch and safetensors"
    assert needed("llama", "tiny") == "torch, safetensors and transformers"
