"""The formats that are made of a `torch.export` program, and torchao's: loaded by their own tools."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import supernet
from export.generation import continuation
from job.formats import refusal
from plugins.kinds import FORMATS
from tests.export.random_networks import answers, random_contents, reloaded, samples_of, space_of, subject_of
from tests.tiers import mostly_thorough

# The first is tried on every run, the others by the thorough one: each takes seconds of exporters and compilers.
NETWORKS = ["vit", "llama", "bert", "qwen3", "mobilenet/digits", "resnet/cifar"]
TOOLS = {"torch_export": "torch", "openvino": "openvino", "executorch": "executorch", "torchao": "torchao"}
CASES = mostly_thorough(
    [(tool, name) for tool in TOOLS for name in NETWORKS],
    *((tool, NETWORKS[0]) for tool in TOOLS if tool not in ("executorch", "openvino")),
)


def names_this_machine(file: Path) -> bool:
    """Whether a file, or one in an archive, says where our sources or torch's lie."""
    parts = [file.read_bytes()]
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            parts += [archive.read(name) for name in archive.namelist()]
    places = {str(Path(module.__file__).parent).encode() for module in (torch, supernet)}
    return any(place in part for place in places for part in parts)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("tool", "name"), CASES)
def test_a_random_network_comes_back(tool: str, name: str, tmp_path, monkeypatch) -> None:
    pytest.importorskip(TOOLS[tool])
    space = space_of(name)
    contents, inputs = random_contents(space, seed=6), samples_of(space)
    if refusal(tool, subject_of(contents)) is not None:
        assert (tool, contents.layers.keys()) != ("torch_export", contents.layers.keys())
        return
    module = FORMATS.load(tool)
    module.write_contents(contents, inputs, tmp_path)
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and names_this_machine(file)]
    run = reloaded(tool, tmp_path, monkeypatch)
    masked = inputs.dim() == 2 and "bert" in name
    given = [inputs.numpy(), np.ones(inputs.shape, bool)] if masked else [inputs.numpy()]
    right = answers(getattr(module, "REFERENCE", lambda same: same)(contents.network), inputs)
    assert np.abs(run(*given) - right).max() <= 1e-4
    if hasattr(run, "generate"):
        wanted = continuation(contents.network, inputs)
        assert wanted is not None
        assert wanted.compared(run.generate(wanted.prompts, wanted.count), 1e-4)["parted_at"] is None


def test_what_a_tool_cannot_hold_is_refused() -> None:
    llama, images = (subject_of(random_contents(space_of(name))) for name in ("llama", "mobilenet/digits"))
    assert "cache" in str(refusal("executorch", llama))
    assert "convolutions" in str(refusal("torchao", images))
    assert refusal("openvino", llama) is refusal("openvino", images) is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", mostly_thorough(["vit/cifar", "llama/tiny"], "llama/tiny"))
def test_torchao_rounds_to_four_bits_in_groups_of_inputs(name: str, tmp_path, monkeypatch) -> None:
    pytest.importorskip("torchao")
    space = space_of(name)
    contents, inputs = random_contents(space, seed=6, architecture=space.largest()), samples_of(space)
    module = FORMATS.load("torchao")
    module.write_contents(contents, inputs, tmp_path)
    recipe = json.loads((tmp_path / "torchao.json").read_text())["int4"]
    wide = {path for path in module.rounded_layers(contents.network) if _inputs(contents.network, path) % 32 == 0}
    assert set(recipe["layers"]) == wide
    assert module.parts(tmp_path)["int4"].optional
    reloaded("torchao", tmp_path, monkeypatch, "int4")
    loaded = sys.modules["load_int4"].model
    assert wide
    for path in module.rounded_layers(contents.network):
        given = contents.network.get_submodule(path).get_parameter("weight").float()
        held, group = loaded.get_submodule(path).weight.dequantize().float(), 32 if path in wide else given.shape[1]
        groups, exact = (each.detach().unflatten(1, (-1, group)).flatten(0, 1) for each in (held, given))
        steps = 16 if path in wide else 256
        assert max(len(row.unique()) for row in groups) <= steps
        # Half a step of a symmetric grid, and a whole one at its end.
        assert ((groups - exact).abs().amax(1) <= 2.2 * exact.abs().amax(1) / steps).all()
        assert not torch.equal(held, given)
    module.leave_out(tmp_path, "int4")
    assert list(module.parts(tmp_path)) == [""]


def _inputs(network: torch.nn.Module, path: str) -> int:
    return int(network.get_submodule(path).weight.shape[1])


def test_torchao_has_no_loader_for_groups_that_no_layer_has(tmp_path) -> None:
    pytest.importorskip("torchao")
    space = space_of("llama")
    module = FORMATS.load("torchao")
    module.write_contents(random_contents(space, architecture=space.largest()), samples_of(space), tmp_path)
    assert not (tmp_path / "load_int4.py").exists()
    assert list(module.parts(tmp_path)) == [""]
