"""Augmentation: what it does to a batch, and that a step sees the same however often it is run."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps

from supernet.augment import Augmentation, erased, resized_crops, seeded
from supernet.augmentation_policies import rand_augment, trivial_augment
from supernet.data import Split, Standardisation
from supernet.image_operations import OPERATIONS
from supernet.losses import mixed_loss
from supernet.options import POLICIES, AugmentationOptions

ALL = torch.arange(16)


def split(channels: int = 3, size: int = 8) -> Split:
    generator = torch.Generator().manual_seed(0)
    stored = torch.randint(0, 256, (16, channels, size, size), generator=generator, dtype=torch.uint8)
    constants = (127.0,) * channels, (60.0,) * channels
    return Split(stored, torch.arange(16) % 4, Standardisation(*constants, full_scale=255.0))


EVERYTHING = AugmentationOptions(
    resized_crop=0.5,
    crop_padding=2,
    flip=True,
    colour_jitter=0.4,
    policy="randaugment",
    erasing=0.5,
    mixup=0.8,
    cutmix=1.0,
)


def test_without_options_the_images_are_as_stored():
    batch = Augmentation(split(), AugmentationOptions(), 0).batch(ALL, step=3)
    assert torch.equal(batch.x, split().x)


def test_a_step_sees_the_same_images_however_often_it_is_run():
    first, second = (Augmentation(split(), EVERYTHING, 0) for _ in range(2))
    second.batch(ALL, step=1)
    torch.rand(5)
    assert torch.equal(first.batch(ALL, step=7).x, second.batch(ALL, step=7).x)


@pytest.mark.parametrize("other", [(1, 7, 0), (0, 8, 0), (0, 7, 1)])
def test_seed_step_and_part_each_matter(other):
    seed, step, part = other
    first = Augmentation(split(), EVERYTHING, 0).batch(ALL, 7, 0).x
    assert not torch.equal(first, Augmentation(split(), EVERYTHING, seed).batch(ALL, step, part).x)


def test_the_global_generator_is_left_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Augmentation(split(), EVERYTHING, 0).batch(ALL, step=0)
    assert torch.equal(torch.rand(3), expected)


def test_half_of_the_images_are_mirrored():
    plain = split()
    got = Augmentation(plain, AugmentationOptions(flip=True), 0).batch(ALL, step=0).x
    same = torch.isclose(got, plain.x, atol=1e-4).flatten(1).all(1)
    mirrored = torch.isclose(got, plain.x.flip(3), atol=1e-4).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 3 <= int(mirrored.sum()) <= 13


def test_a_padded_crop_shifts_by_at_most_the_padding_over_zeros():
    plain = split()
    got = Augmentation(plain, AugmentationOptions(crop_padding=1), 0).batch(ALL, step=0).x
    padded = torch.nn.functional.pad(plain.stored.float(), (1, 1, 1, 1))
    standardised = plain.standardisation(padded)
    for image, whole in zip(got, standardised, strict=True):
        crops = [whole[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
        assert any(torch.allclose(image, crop, atol=1e-4) for crop in crops)


def test_labels_and_shape_stay():
    batch = Augmentation(split(), EVERYTHING, 0).batch(ALL, step=0)
    assert torch.equal(batch.targets, split().y)
    assert batch.x.shape == split().stored.shape
    assert batch.mixed is not None
    assert batch.x.dtype == torch.float32


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "none"])
def test_a_policy_changes_images_and_stays_within_the_pixels_range(policy):
    plain = split(size=32)
    batches = [Augmentation(plain, AugmentationOptions(policy=policy), 0).batch(ALL, step).x for step in range(4)]
    assert any(not torch.allclose(inputs, plain.x, atol=1e-3) for inputs in batches)
    low, high = (0 - 127) / 60, (255 - 127) / 60
    assert all(low - 1e-4 <= float(inputs.min()) <= float(inputs.max()) <= high + 1e-4 for inputs in batches)


# Everything that changes pictures, each alone. Strengths at which an image is hardly ever left as it is.
SWITCHES = {
    "resized_crop": {"resized_crop": 0.3},
    "crop_padding": {"crop_padding": 3},
    "flip": {"flip": True},
    "colour_jitter": {"colour_jitter": 0.8},
    "erasing": {"erasing": 0.9},
    "mixup": {"mixup": 1.0},
    "cutmix": {"cutmix": 1.0},
    "autoaugment": {"policy": "autoaugment"},
    "randaugment": {"policy": "randaugment", "policy_magnitude": 20},
    "trivialaugment": {"policy": "trivialaugment"},
}


@pytest.mark.parametrize("name", SWITCHES)
def test_images_of_one_batch_draw_each_for_themselves(name):
    """Sixteen copies of one image must not all become the same one, nor all stay."""
    one = split(size=32).take(torch.zeros(32, dtype=torch.long))
    if name in ("mixup", "cutmix"):  # what is mixed must differ
        plain = split(size=32)
        one = Split(torch.cat([plain.stored, plain.stored.flip(2)]), plain.y.repeat(2), plain.standardisation)
    got = Augmentation(one, AugmentationOptions(**SWITCHES[name]), 0).batch(torch.arange(32), step=0).x
    change = got - one.x
    different = {tuple(image.flatten()[::97].mul(100).round().tolist()) for image in change}
    assert len(different) >= (2 if name == "flip" else 5)


def test_every_operation_of_randaugment_is_seen_and_no_image_has_the_batchs(monkeypatch):
    seen = []
    for name, operation in OPERATIONS.items():
        counted = lambda x, strength, name=name, of=operation: (seen.append((name, len(x))), of(x, strength))[1]  # noqa: E731
        monkeypatch.setitem(OPERATIONS, name, counted)
    images = torch.rand(64, 3, 8, 8)
    rand_augment(images, np.random.default_rng(0), operations=1, magnitude=9)
    names = {name for name, _ in seen}
    assert len(names) >= 10
    assert sum(count for _, count in seen) < 64  # some images drew the identity
    assert max(count for _, count in seen) < 16


def test_trivialaugment_draws_strengths_too(monkeypatch):
    strengths = []
    monkeypatch.setitem(OPERATIONS, "rotate", lambda x, strength: (strengths.extend(strength.tolist()), x)[1])
    trivial_augment(torch.rand(400, 3, 4, 4), np.random.default_rng(0))
    assert len(set(strengths)) > 10
    assert min(strengths) < -60
    assert max(strengths) > 60


def test_mixed_labels_are_mixed_as_the_images_are():
    plain = split(size=16)
    for options in ({"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}):
        batch = Augmentation(plain, AugmentationOptions(**options), 0).batch(ALL, step=0)
        assert batch.mixed is not None
        assert len(batch.mixed.share.unique()) > 8
        part = batch.part(slice(3, 7))
        assert torch.equal(part.mixed.share, batch.mixed.share[3:7])
        for number in range(16):
            share = float(batch.mixed.share[number])
            partners = [i for i in range(16) if int(plain.y[i]) == int(batch.mixed.targets[number])]
            mixtures = [share * plain.x[number] + (1 - share) * plain.x[i] for i in partners]
            mine = batch.x[number] == plain.x[number]
            pasted = [mine | (batch.x[number] == plain.x[i]) for i in partners]
            by_share = any(torch.allclose(batch.x[number], mixture, atol=1e-4) for mixture in mixtures)
            kept = float(mine.float().mean())
            by_patch = any(bool(p.all()) for p in pasted) and kept == pytest.approx(share, abs=0.05)
            assert by_share or by_patch, (options, number)


def test_the_loss_of_a_mixture_is_that_of_mixed_labels():
    logits, labels, second = torch.randn(6, 4), torch.arange(6) % 4, torch.arange(6).flip(0) % 4
    share = torch.rand(6)
    mixed = share[:, None] * F.one_hot(labels, 4) + (1 - share)[:, None] * F.one_hot(second, 4)
    for smoothing in (0.0, 0.1):
        torch.testing.assert_close(
            mixed_loss(logits, labels, second, share, smoothing),
            F.cross_entropy(logits, mixed, label_smoothing=smoothing),
        )


def test_an_erased_rectangle_is_noise_and_the_rest_stays():
    images = torch.zeros(64, 3, 32, 32)
    got = erased(images, 0.5, np.random.default_rng(0))
    gone = (got != 0).any(1)
    hit = gone.flatten(1).any(1)
    assert 16 < int(hit.sum()) < 48
    for mask in gone[hit]:
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
        assert int(mask.sum()) == height * width
        assert 0.01 < height * width / 32**2 < 0.4


def test_a_resized_crop_keeps_at_least_its_share_of_the_area():
    ramp = torch.arange(32.0).expand(1, 1, 32, 32) / 31
    got = resized_crops(ramp.repeat(200, 1, 1, 1), 0.25, np.random.default_rng(0))
    width = got[:, 0, 0, -1] - got[:, 0, 0, 0]
    assert float(width.min()) > 0.4  # sqrt(0.25 * 3/4), less the half pixels at the edges
    assert float(width.min()) < 0.6
    assert float(width.max()) > 0.9
    assert len(width.unique()) > 50


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_operations_are_pillows(strength):
    """The same numbers as Pillow's own operations, which the papers' policies are made of."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    x_NCHW = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    factor = 0.3 + strength
    expected = {
        ("brightness", factor): ImageEnhance.Brightness(picture).enhance(factor),
        ("colour", factor): ImageEnhance.Color(picture).enhance(factor),
        ("contrast", factor): ImageEnhance.Contrast(picture).enhance(factor),
        ("sharpness", factor): ImageEnhance.Sharpness(picture).enhance(factor),
        ("posterize", 8 - round(4 * strength)): ImageOps.posterize(picture, 8 - round(4 * strength)),
        ("solarize", strength): ImageOps.solarize(picture, round(255 * strength)),
        ("invert", strength): ImageOps.invert(picture),
        ("auto_contrast", strength): ImageOps.autocontrast(picture),
        ("equalize", strength): ImageOps.equalize(picture),
        ("translate_x", strength): picture.transform(
            picture.size, Image.Transform.AFFINE, (1, 0, 24 * strength, 0, 1, 0)
        ),
    }
    for (name, value), picture_of in expected.items():
        got = OPERATIONS[name](x_NCHW, torch.tensor([float(value)]))[0].permute(1, 2, 0) * 255
        off = (got - torch.from_numpy(np.asarray(picture_of).copy()).float()).abs()
        # Pillow rounds to whole levels after every step, and these do not.
        assert float(off.max()) <= 2, (name, value, float(off.max()))


def test_a_quarter_turn_is_one_on_any_shape_and_shears_move_rows():
    x_NCHW = torch.rand(2, 3, 8, 8)
    turned = OPERATIONS["rotate"](x_NCHW, torch.tensor([90.0, -90.0]))
    assert {torch.allclose(turned[0], x_NCHW[0].rot90(k, (1, 2)), atol=1e-5) for k in (1, 3)} == {True, False}
    back = OPERATIONS["rotate"](turned, torch.tensor([-90.0, 90.0]))
    torch.testing.assert_close(back, x_NCHW)
    sheared = OPERATIONS["shear_x"](torch.ones(1, 1, 9, 9), torch.tensor([0.9]))[0, 0]
    assert float(sheared[4].mean()) == 1
    assert float(sheared[0].mean()) < 0.7


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
