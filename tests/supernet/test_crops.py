"""Random crops of a training are cut from the whole picture and only then resized; nothing decoded is kept for it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from supernet.augment import Augmentation
from supernet.data import DataError, Decoding, load_dataset
from supernet.data.originals import DRAWS, LEAST_RATIO, MOST_RATIO, Originals, box
from supernet.evaluator import CALIBRATION, calibration_examples
from supernet.options import AugmentationOptions
from tests.tiny_data import image_table

CROPS = AugmentationOptions(resized_crop=0.05)
ALL = torch.arange(6)


def stripes(folder, size=64):
    """Pictures whose columns alternate between black and white: resized they are grey, and a crop is not."""
    for name, phase in (("a", 0), ("b", 1)):
        (folder / name).mkdir(parents=True)
        for i in range(8):
            pixels = np.zeros((size, size), dtype=np.uint8)
            pixels[:, phase::2] = 255
            pixels[:4, :4] = 30 * i
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return {"path": str(folder), "size": 8, "channels": 1, "validation_share": 0.25}


def test_a_crop_has_the_detail_of_the_picture(tmp_path):
    split = load_dataset("images", 0, stripes(tmp_path, 256)).train
    small = AugmentationOptions(resized_crop=0.001)
    originals, stored = split.originals, split.stored
    assert originals is not None
    # Of 256 pixels 8 are kept: what is stored is grey, a crop of a few pixels is black and white.
    draws = np.full((2, *DRAWS), 0.0)
    draws[..., 1] = 0.5
    draws[..., 2:] = 0.5
    crops = originals.crops(np.array([0, 1]), draws, small.resized_crop)
    assert crops.shape == (2, 1, 8, 8)
    assert crops.std() > 100
    assert stored[:2, :, 3:].float().std() < 20


def test_crops_are_those_of_pillow(tmp_path):
    data = load_dataset("images", 0, stripes(tmp_path))
    originals = data.train.originals
    assert originals is not None
    draws = np.random.default_rng(0).random((3, *DRAWS))
    got = originals.crops(np.arange(3), draws, 0.2)
    for place in range(3):
        _, file = originals.read(int(originals.rows[place]))
        cut = Image.open(file).crop(box(64, 64, draws[place], 0.2))
        assert np.array_equal(got[place, 0], np.asarray(cut.resize((8, 8), Image.Resampling.BICUBIC)))


def test_boxes_keep_their_share_and_their_ratio_and_lie_within_the_picture():
    rng = np.random.default_rng(0)
    for width, height in ((64, 64), (30, 90), (500, 20), (1, 1), (3, 2)):
        for _ in range(200):
            left, top, right, bottom = box(width, height, rng.random(DRAWS), 0.08)
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            if min(width, height) > 25:
                assert (right - left) * (bottom - top) >= 0.07 * width * height
                assert LEAST_RATIO * 0.85 <= (right - left) / (bottom - top) <= MOST_RATIO * 1.15
    assert box(500, 20, np.ones(DRAWS), 1.0) == (236, 0, 263, 20)  # nothing fits: the largest centre of that ratio


def test_a_step_has_the_same_crops_however_often_it_is_run_and_expected(tmp_path):
    augmentation = Augmentation(load_dataset("images", 0, stripes(tmp_path)).train, CROPS, 7)
    first = augmentation.batch(ALL, step=3).x
    augmentation.expect(ALL, 3)
    assert augmentation.reads_ahead
    assert torch.equal(augmentation.batch(ALL, step=3).x, first)
    augmentation.expect(ALL, 4)
    assert torch.equal(augmentation.batch(ALL, step=3).x, first)
    assert not torch.equal(augmentation.batch(ALL, step=4).x, first)
    assert not torch.equal(augmentation.batch(ALL, step=3, part=1).x, first)


def test_without_crops_what_is_stored_is_used(tmp_path):
    split = load_dataset("images", 0, stripes(tmp_path)).train
    augmentation = Augmentation(split, AugmentationOptions(crop_padding=1), 0)
    assert not augmentation.reads_ahead
    assert torch.equal(Augmentation(split, AugmentationOptions(), 0).batch(ALL, 0).x, split.batch(ALL).x)


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_crops_belong_to_their_labels_where_pictures_are_left_out(tmp_path, storage):
    options = stripes(tmp_path / "source")
    (tmp_path / "source" / "a" / "2.png").write_bytes(b"broken")
    decoding = Decoding(tmp_path / "datasets")
    data = load_dataset("images", 0, {**options, "storage": storage, "corrupt_share": 0.1}, decoding)
    for split in data.splits.values():
        originals = split.originals
        assert isinstance(originals, Originals)
        names = [originals.read(int(row))[0] for row in originals.rows]
        assert [name.startswith("b") for name in names] == [bool(label) for label in split.y]
        assert "a/2.png" not in names


def test_tables_have_originals_too(tmp_path):
    split = load_dataset("huggingface", 0, image_table(tmp_path)).train
    assert split.originals is not None
    assert len(split.originals) == len(split)
    batch = Augmentation(split, CROPS, 0).batch(ALL, step=0)
    assert batch.x.shape == (6, 3, 16, 16)


def test_a_picture_that_is_gone_is_named(tmp_path):
    split = load_dataset("images", 0, stripes(tmp_path)).train
    assert split.originals is not None
    name, file = split.originals.read(int(split.originals.rows[0]))
    file.unlink()
    with pytest.raises(DataError, match=f"{name} could be decoded when the data were read, and cannot any more"):
        Augmentation(split, CROPS, 0).batch(ALL, step=0)


def test_examples_for_calibration_are_cut_once_and_need_no_pictures_any_more(tmp_path):
    data = load_dataset("images", 0, stripes(tmp_path))
    some, again = (calibration_examples(data, 5, 3, CROPS) for _ in range(2))
    fewer = calibration_examples(data, 3, 3, CROPS)
    shutil.rmtree(tmp_path)
    assert some.cropped
    assert some.originals is None
    assert torch.equal(some.stored, again.stored)
    assert torch.equal(some.stored[:3], fewer.stored)
    images = Augmentation(some, CROPS, 3, CALIBRATION)
    assert torch.allclose(next(images.batches(5)).x, some.x)  # nothing is cut of a crop again
