"""Exports that name their formats: a folder for each, the same archive every time, and every file accounted for."""

import json
import tarfile

import pytest
import torch

from export.archive import SUMS, edited
from export.bundle import write_bundle
from job.formats import possible, unasked, wanted
from plugins.registry import UnknownPluginError
from tests.export.random_networks import random_contents, samples_of, space_of, subject_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from dataclasses import replace

    space = space_of("bert")
    contents = replace(random_contents(space), formats=("huggingface", "winnow"))
    inputs, labels = samples_of(space, 8), torch.zeros(8, dtype=torch.int64)
    folder = tmp_path_factory.mktemp("exports") / "named"
    return [write_bundle(contents, inputs, labels, folder) for _ in range(2)]


def test_every_format_has_a_folder_of_its_own(made) -> None:
    _, bundle = made
    inside = {str(path.relative_to(bundle.folder)) for path in bundle.folder.rglob("*") if path.is_file()}
    assert inside == {
        "README.md",
        SUMS,
        "samples.safetensors",
        "verification.json",
        "huggingface/config.json",
        "huggingface/model.safetensors",
        "winnow/architecture.json",
        "winnow/load.py",
        "winnow/model.safetensors",
        "winnow/network.py",
    }
    assert json.loads((bundle.folder / "verification.json").read_text()) == bundle.report
    assert set(bundle.report["formats"]) == {"huggingface", "winnow"}
    assert bundle.report["formats"]["winnow"]["max_abs_difference"] == 0
    assert bundle.measured["huggingface"]["ratio"] > 0
    card = (bundle.folder / "README.md").read_text()
    assert "bytes of zeros" in card
    assert "from_pretrained" in card


def test_the_same_export_is_the_same_archive(made) -> None:
    first, second = made
    assert first.sha256 == second.sha256
    with tarfile.open(second.archive) as tar:
        entries = tar.getmembers()
    assert {(entry.uid, entry.uname, entry.mtime) for entry in entries} == {(0, "", entries[0].mtime)}
    assert all(entry.name.split("/")[0] == "named" for entry in entries)


def test_an_edited_a_missing_and_a_new_file_are_named(made) -> None:
    _, bundle = made
    assert edited(bundle.folder) == []
    card = bundle.folder / "README.md"
    whole = card.read_text()
    card.write_text(whole + "more")
    (bundle.folder / "new.txt").write_text("new")
    assert edited(bundle.folder) == [
        "README.md was edited: its sha256 is not the one that was written.",
        "new.txt was added.",
    ]
    card.unlink()
    (bundle.folder / "new.txt").unlink()
    assert edited(bundle.folder) == ["README.md is missing."]
    card.write_text(whole)


def test_names_are_checked_and_each_is_written_once() -> None:
    subject = subject_of(random_contents(space_of("llama")))
    assert wanted(["winnow", "huggingface", "winnow"], subject) == ("huggingface", "winnow")
    with pytest.raises(UnknownPluginError, match=r"No export format named 'coreml'\. Known: "):
        wanted(["coreml"], subject)
    assert set(unasked()) == {"onnx", "safetensors"}
    assert set(unasked()) <= set(possible(subject))
