"""Augmentation: what it does to a batch, and that a step sees the same however often it is run."""

import pytest
import torch

from supernet.augment import Augmentation, seeded
from supernet.data import Split, Standardisation
from supernet.options import POLICIES, AugmentationOptions

ALL = torch.arange(16)


def split(channels: int = 3, size: int = 8) -> Split:
    generator = torch.Generator().manual_seed(0)
    stored = torch.randint(0, 256, (16, channels, size, size), generator=generator, dtype=torch.uint8)
    constants = (127.0,) * channels, (60.0,) * channels
    return Split(stored, torch.arange(16) % 4, Standardisation(*constants, full_scale=255.0))


EVERYTHING = AugmentationOptions(resized_crop=0.5, crop_padding=2, flip=True, policy="randaugment")


def test_without_options_the_images_are_as_stored():
    batch = Augmentation(split(), AugmentationOptions(), 0).batch(ALL, step=3)
    assert torch.equal(batch.inputs, split().x)


def test_a_step_sees_the_same_images_however_often_it_is_run():
    first, second = (Augmentation(split(), EVERYTHING, 0) for _ in range(2))
    second.batch(ALL, step=1)
    torch.rand(5)
    assert torch.equal(first.batch(ALL, step=7).inputs, second.batch(ALL, step=7).inputs)


@pytest.mark.parametrize("other", [(1, 7, 0), (0, 8, 0), (0, 7, 1)])
def test_seed_step_and_part_each_matter(other):
    seed, step, part = other
    first = Augmentation(split(), EVERYTHING, 0).batch(ALL, 7, 0).inputs
    assert not torch.equal(first, Augmentation(split(), EVERYTHING, seed).batch(ALL, step, part).inputs)


def test_the_global_generator_is_left_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Augmentation(split(), EVERYTHING, 0).batch(ALL, step=0)
    assert torch.equal(torch.rand(3), expected)


def test_half_of_the_images_are_mirrored():
    plain = split()
    got = Augmentation(plain, AugmentationOptions(flip=True), 0).batch(ALL, step=0).inputs
    same = torch.isclose(got, plain.x, atol=1e-4).flatten(1).all(1)
    mirrored = torch.isclose(got, plain.x.flip(3), atol=1e-4).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 3 <= int(mirrored.sum()) <= 13


def test_a_padded_crop_shifts_by_at_most_the_padding_over_zeros():
    plain = split()
    got = Augmentation(plain, AugmentationOptions(crop_padding=1), 0).batch(ALL, step=0).inputs
    padded = torch.nn.functional.pad(plain.stored.float(), (1, 1, 1, 1))
    standardised = plain.standardisation(padded)
    for image, whole in zip(got, standardised, strict=True):
        crops = [whole[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
        assert any(torch.allclose(image, crop, atol=1e-4) for crop in crops)


def test_labels_and_shape_stay():
    batch = Augmentation(split(), EVERYTHING, 0).batch(ALL, step=0)
    assert torch.equal(batch.targets, split().y)
    assert batch.inputs.shape == split().stored.shape
    assert batch.inputs.dtype == torch.float32


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "none"])
def test_a_policy_changes_images_and_stays_within_the_pixels_range(policy):
    plain = split(size=32)
    batches = [Augmentation(plain, AugmentationOptions(policy=policy), 0).batch(ALL, step).inputs for step in range(4)]
    assert any(not torch.allclose(inputs, plain.x, atol=1e-3) for inputs in batches)
    low, high = (0 - 127) / 60, (255 - 127) / 60
    assert all(low - 1e-4 <= float(inputs.min()) <= float(inputs.max()) <= high + 1e-4 for inputs in batches)


def test_text_is_not_augmented():
    text = Split(torch.zeros(4, 8, dtype=torch.int32), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="is for images"):
        Augmentation(text, AugmentationOptions(flip=True), 0)


def test_autoaugment_wants_colours():
    with pytest.raises(ValueError, match="3 channels; these have 1"):
        Augmentation(split(channels=1), AugmentationOptions(policy="autoaugment"), 0)


def test_what_takes_no_generator_is_seeded_by_purpose_and_position():
    def draw(purpose: str, position: int) -> list[float]:
        with seeded(0, purpose, position, torch.device("cpu")):
            return torch.rand(3).tolist()

    assert draw("a", 1) == draw("a", 1)
    assert draw("a", 1) != draw("b", 1)
    assert draw("a", 1) != draw("a", 2)
