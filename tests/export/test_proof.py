"""`winnow verify`: an export is checked again from its archive alone."""

import importlib.util
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from export import proof
from export.bundle import write_bundle
from tests.export.random_networks import random_contents, samples_of, space_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    space = space_of("bert")
    contents = replace(random_contents(space), formats=("winnow",))
    inputs, labels = samples_of(space, 4), torch.zeros(4, dtype=torch.int64)
    return write_bundle(contents, inputs, labels, tmp_path_factory.mktemp("exports") / "named")


def test_an_archive_is_what_was_exported(made, capsys) -> None:
    assert proof.main([str(made.archive)]) == 0
    told = capsys.readouterr().out
    assert "Every file has the sha256 that was written." in told
    assert "winnow: 4 samples, largest difference 0, " in told
    assert "is what was exported." in told


@pytest.mark.thorough
def test_an_edited_weight_is_named_and_its_answers_are_not_the_networks(made, tmp_path, capsys) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "copy")
    file = folder / "winnow" / "model.safetensors"
    tensors = load_file(file)
    tensors["head.classifier.bias"][0] += 1
    save_file(tensors, file)
    assert proof.main([str(folder)]) == 1
    told = capsys.readouterr().out
    assert "winnow/model.safetensors was edited" in told
    assert "largest difference 1, " in told
    assert "is not what was exported." in told


@pytest.mark.parametrize(
    ("harm", "says"), [("cut", "cannot be verified"), ("missing", "no such file"), ("text", "cannot be verified")]
)
def test_what_is_no_archive_is_told(made, tmp_path, capsys, harm: str, says: str) -> None:
    file = tmp_path / "x.tar.gz"
    if harm == "cut":
        file.write_bytes(made.archive.read_bytes()[:-2000])
    elif harm == "text":
        file.write_text("text")
    assert proof.main([str(file)]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shown", "lacking", "extra"),
    [
        ("gguf f16", "gguf", "gguf"),
        ("gguf f16 in llama.cpp", "llama_cpp", "llamacpp"),
        ("openvino", "openvino", "openvino"),
    ],
)
def test_a_tool_that_is_not_there_is_named_with_its_command(
    made, monkeypatch, shown: str, lacking: str, extra: str
) -> None:
    found, real = {"formats": {shown: {"tolerance": 1e-4, "max_abs_difference": 0.0}}}, importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == lacking else real(name))
    (line, good), *_ = proof._format_checked(made.folder, shown, found, {})
    assert not good
    assert line == f"{shown}: {lacking} is not installed here, so it cannot be loaded: pip install 'winnow[{extra}]'"
