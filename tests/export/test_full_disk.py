"""A disk that is full while an export is written: said in a line, whatever tool met it, and nothing is left behind."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from export.bundle import write_bundle
from export.tools import NoRoom, without_room
from job.formats import refusal
from plugins.kinds import FORMATS
from tests.export.random_networks import random_contents, samples_of, space_of, subject_of

# Of a disk that holds the small files of every format, and no weights.
KILOBYTES = 160
# The network that a format is tried with.
NETWORKS = {"gguf": "llama/tiny", "block_configs": "llama/tiny", "huggingface": "vit", "torchao": "vit"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    given = ["mount", "-t", "tmpfs", "-o", f"size={KILOBYTES}k", "tmpfs", str(folder)]
    if subprocess.run(given, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small disk here; the tests below go the same way without one")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def contents_of(name: str):
    space = space_of(NETWORKS.get(name, "mobilenet/digits"))
    return replace(random_contents(space, architecture=space.largest()), formats=(name,)), samples_of(space, 4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [
        "huggingface",
        "winnow",
        *(
            pytest.param(name, marks=pytest.mark.thorough)
            for name in ("block_configs", "executorch", "gguf", "onnx", "openvino", "torch_export", "torchao")
        ),
    ],
)
def test_every_format_says_that_the_disk_is_full_and_leaves_nothing(name: str, disk: Path) -> None:
    contents, inputs = contents_of(name)
    assert refusal(name, subject_of(contents)) is None
    labels = torch.roll(inputs, -1, 1) if inputs.dim() == 2 else torch.zeros(4, dtype=torch.int64)
    with pytest.raises(NoRoom, match=rf"^No room on the disk of {disk}( or \S+)?\. Make room and export"):
        write_bundle(contents, inputs, labels, disk / "export")
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_an_export_that_meets_a_full_disk_fails_in_a_line(error: Exception, tmp_path: Path, monkeypatch) -> None:
    contents, inputs = contents_of("winnow")

    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(FORMATS.load("winnow"), "write_contents", full)
    with pytest.raises(NoRoom) as raised:
        write_bundle(contents, inputs, torch.zeros(4, dtype=torch.int64), tmp_path / "export")
    said = str(raised.value)
    assert f"No room on the disk of {tmp_path}" in said
    assert "Make room and export again." in said
    assert "\n" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_tool_that_says_it_in_its_own_words_is_understood(tmp_path: Path, monkeypatch) -> None:
    theirs = RuntimeError("[enforce fail at inline_container.cc:672] file write failed\nframe #0")
    assert without_room(theirs, [tmp_path]) is None
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(100, 90, 10))
    said = str(without_room(theirs, [tmp_path]))
    assert said.endswith(
        "Make room and export again. (RuntimeError: [enforce fail at inline_container.cc:672] file write failed)"
    )
