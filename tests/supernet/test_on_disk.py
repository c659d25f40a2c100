"""Images that do not fit in memory: the same numbers from a file, and little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from search_space.plugins import load_family
from supernet.data import DataError, Dataset, load_dataset
from supernet.data import decoding as decoding_module
from supernet.data.on_disk import ImageFile, ImagesOnDisk
from supernet.evaluate import score
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.network import Supernet, extract
from supernet.options import AugmentationOptions
from supernet.trainer import Trainer
from tests.supernet.on_disk import same, sets_in
from tests.supernet.recipes import FEW_STEPS, changed
from tests.tiny_data import cifar10, grey_images, image_table, images, picture

CPU = torch.device("cpu")


# --- the same numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "make", "more"),
    [
        ("images", images, {}),
        ("images", images, {"limit": 20}),
        ("images", lambda root: grey_images(root, {"train": 6, "test": 2}), {}),
        ("cifar10", cifar10, {}),
        ("cifar10", cifar10, {"limit": 30}),
        ("huggingface", image_table, {}),
        ("huggingface", image_table, {"limit": 20}),
    ],
)
def test_splits_and_statistics_are_those_of_memory(tmp_path, decoding, monkeypatch, decoded, source, make, more):
    root = tmp_path / "source"
    root.mkdir()
    options = {**make(root), **more}
    in_memory = load_dataset(source, 3, options, decoding)
    assert isinstance(in_memory.train.stored, torch.Tensor)
    assert not sets_in(decoding)
    monkeypatch.setattr(decoding_module, "MEMORY_SHARE", 0.0)
    on_disk = load_dataset(source, 3, options, decoding)
    assert all(isinstance(split.stored, ImagesOnDisk) for split in on_disk.splits.values())
    same(in_memory, on_disk)
    decoded.clear()
    same(in_memory, load_dataset(source, 3, options, decoding))
    assert not decoded


def test_a_file_is_indexed_and_taken_from_like_a_tensor(tmp_path, decoding, short):
    data = load_dataset("images", 0, grey_images(tmp_path / "source"), decoding).train
    whole = data.stored[:]
    some = torch.tensor([5, 3, 3, 70, 0])
    assert torch.equal(data.stored[some], whole[some])
    assert torch.equal(data.stored[slice(7, 12)], whole[7:12])
    assert len(data.stored[slice(500, 600)]) == 0
    taken = data.take(some).take(torch.tensor([4, 0]))
    assert torch.equal(taken.stored[:], whole[[0, 5]])
    assert torch.equal(taken.y, data.y[[0, 5]])
    assert taken.stored.file is data.stored.file
    data.expect(some)
    assert torch.equal(data.stored[slice(0, 2)], whole[:2])  # something else in between
    assert torch.equal(data.stored[some], whole[some])
    assert torch.equal(torch.cat([batch.x for batch in data.batches(32, CPU)]), data.x)
    assert data.to(torch.device("meta")) is data
    assert data.num_bytes < 20 * len(data)


OPTIONS = changed(FEW_STEPS, epochs=2, batch_size=24, micro_batches=2)


def trainer(data: Dataset) -> Trainer:
    torch.manual_seed(0)
    supernet = Supernet(load_family("mobilenet", "digits"))
    return Trainer(
        supernet,
        BigNAS(BigNASOptions(num_random=1)),
        data.train,
        OPTIONS,
        0,
        AugmentationOptions(crop_padding=1, flip=True),
    )


def test_a_training_has_the_losses_of_memory_also_when_it_is_resumed(tmp_path, decoding, monkeypatch):
    options = grey_images(tmp_path / "source")
    expected = trainer(in_memory := load_dataset("images", 0, options, decoding))
    monkeypatch.setattr(decoding_module, "MEMORY_SHARE", 0.0)
    undisturbed = trainer(on_disk := load_dataset("images", 0, options, decoding))
    assert expected.num_steps == 6
    losses = [expected.step() for _ in range(6)]
    assert [undisturbed.step() for _ in range(2)] == losses[:2]
    tensors = {name: value.clone() for name, value in undisturbed.tensors().items()}
    resumed = trainer(load_dataset("images", 0, options, decoding))
    resumed.restore(tensors, 2)
    assert [resumed.step() for _ in range(4)] == losses[2:]
    assert [undisturbed.step() for _ in range(4)] == losses[2:]
    scores = [
        score(extract(made.supernet, made.space.largest()), data.validation)
        for made, data in ((expected, in_memory), (resumed, on_disk))
    ]
    assert scores[0] == scores[1]


def test_the_batch_of_the_next_step_is_read_ahead(tmp_path, decoding, short, monkeypatch):
    training = trainer(load_dataset("images", 0, grey_images(tmp_path / "source"), decoding))
    begun, original = [], ImageFile._begin

    def begin(self, rows):
        begun.append(len(rows))
        return original(self, rows)

    monkeypatch.setattr(ImageFile, "_begin", begin)
    for _ in range(training.num_steps):
        training.step()
    assert begun == [12] * 2 * 6  # two micro-batches of each step once, and nothing after the last


# --- what is asked for ------------------------------------------------------------------------------


def test_storage_may_be_asked_for(tmp_path, decoding, monkeypatch):
    options = grey_images(tmp_path / "source")
    asked = load_dataset("images", 0, {**options, "storage": "disk"}, decoding)
    assert isinstance(asked.test.stored, ImagesOnDisk)
    with pytest.raises(DataError, match="no folder to decode into"):
        load_dataset("images", 0, {**options, "storage": "disk"})
    monkeypatch.setattr(decoding_module, "MEMORY_SHARE", 0.0)
    with pytest.raises(DataError, match=r"GB are free, of which they may take 0%.*data\.storage"):
        load_dataset("images", 0, {**options, "storage": "memory"}, decoding)
    with pytest.raises(DataError, match="GB are free"):  # no folder
        load_dataset("images", 0, options)


def test_text_on_the_disk_is_refused(tmp_path, decoding):
    from tests.tiny_data import huggingface

    with pytest.raises(DataError, match="is text, which lies in memory"):
        load_dataset("huggingface", 0, {**huggingface(tmp_path), "storage": "disk"}, decoding)


def test_processes_of_one_machine_share_its_memory(monkeypatch):
    monkeypatch.setattr(decoding_module, "available_memory", lambda: 1000)
    assert decoding_module.fits_in_memory(400)
    assert not decoding_module.fits_in_memory(400, processes=2)
    with pytest.raises(DataError, match="in each of 2 processes"):
        decoding_module.check_memory(400, processes=2)


def test_available_memory_is_that_of_this_machine():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < decoding_module.available_memory() <= total


# --- corrupt images ---------------------------------------------------------------------------------


def test_corrupt_images_are_skipped_and_named_as_in_memory(tmp_path, decoding, decoded):
    options = {**grey_images(tmp_path / "source"), "corrupt_share": 0.1}
    for broken in ("class0/0.png", "class4/11.png", "class9/11.png"):
        (tmp_path / "source" / broken).write_bytes(b"not an image")
    in_memory = load_dataset("images", 0, options, decoding)
    assert "3 of 120 images of source" in in_memory.notes[0]
    assert "class4/11.png" in in_memory.notes[0]
    on_disk = {**options, "storage": "disk"}
    same(in_memory, load_dataset("images", 0, on_disk, decoding))
    decoded.clear()
    same(in_memory, load_dataset("images", 0, on_disk, decoding))
    with pytest.raises(DataError, match=r"more than the allowed share of 0\.01: class0/0\.png"):
        load_dataset("images", 0, {**on_disk, "corrupt_share": 0.01}, decoding)
    assert not decoded


# --- memory -----------------------------------------------------------------------------------------

PEAK = """
import json, sys
from pathlib import Path
import torch
from supernet.data import Decoding, load_dataset

def memory(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(what)).split()[1])

def use_all(root):
    options = {"path": root, "size": 224, "storage": "disk", "validation_share": 0.2}
    data = load_dataset("images", 0, options, Decoding(Path(sys.argv[1])))
    total = 0
    for split in data.splits.values():
        for batch in split.batches(2, torch.device("cpu")):
            total += len(batch)
    chosen = data.train.take(torch.randperm(len(data.train)))
    for start in range(0, len(chosen), 2):
        total += len(chosen.stored[start : start + 2])
    return total

torch.set_num_threads(1)
seen, peaks = [], []
for root in sys.argv[2:]:
    seen.append(use_all(root))
    peaks.append(memory("VmHWM:"))
print(json.dumps({"grown": peaks[1] - peaks[0], "seen": seen}))
"""


def test_memory_stays_far_below_the_size_of_the_set(tmp_path, decoding):
    """1,400 images of 224 pixels are 211 MB: decoding, statistics, carving and reading them take at most a quarter
    on top of what the same took with 140 images, in the same process, which has its imports and buffers then."""
    roots = {tmp_path / "few": 70, tmp_path / "many": 700}
    for root, each in roots.items():
        for label in range(2):
            (root / f"class{label}").mkdir(parents=True)
            one = root / f"class{label}" / "0.bmp"
            picture(label, label, (224, 224)).save(one)
            for i in range(1, each):
                os.link(one, one.with_name(f"{i}.bmp"))
    command = [sys.executable, "-c", PEAK, str(decoding.folder), *map(str, roots)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    found = json.loads(done.stdout)
    sizes = sorted((there / "images.bin").stat().st_size for there in sets_in(decoding))
    assert sizes == [140 * 3 * 224 * 224, 1400 * 3 * 224 * 224]
    assert found["seen"][0] > 140 + 80
    assert found["seen"][1] > 1400 + 800
    assert found["grown"] < (sizes[1] - sizes[0]) / 4


def test_moments_are_exact_for_white_images():
    from supernet.data.on_disk import moments

    white = np.full((3, 64, 64), 255, dtype=np.uint8)
    assert moments(white).tolist() == [[255 * 4096, 255 * 255 * 4096]] * 3
