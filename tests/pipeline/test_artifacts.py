"""Files are written whole or not at all, and damaged ones are refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from pipeline.artifacts import ArtifactDamaged, ArtifactStore, DiskFull

TENSORS = {"weight": torch.arange(12.0).reshape(3, 4), "steps": torch.tensor(7)}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    written = store.save("a/b.safetensors", TENSORS)
    loaded = store.load(written.path, written.sha256)
    assert all(torch.equal(loaded[name], value) for name, value in TENSORS.items())
    assert written.size_bytes == (tmp_path / "a/b.safetensors").stat().st_size


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_full_disk_leaves_the_earlier_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    store = ArtifactStore(tmp_path)
    earlier = store.save("x.safetensors", {"a": torch.zeros(3)})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", full) if failing == "fsync" else (Path, "rename", full)))
    with pytest.raises(DiskFull, match=r"No room on the disk .* it needs 56 bytes and [\d,]+ are free"):
        store.save("x.safetensors", TENSORS)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
    assert torch.equal(store.load(earlier.path, earlier.sha256)["a"], torch.zeros(3))


def test_other_errors_of_the_disk_are_not_called_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        ArtifactStore(tmp_path).save("x.safetensors", TENSORS)
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    written = store.save("x.safetensors", TENSORS)
    path = tmp_path / "x.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(ArtifactDamaged, match="sha256"):
        store.load(written.path, written.sha256)
    path.unlink()
    with pytest.raises(ArtifactDamaged, match="missing"):
        store.load(written.path, written.sha256)
