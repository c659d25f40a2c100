"""Augmentation of whole batches on their device, the same for a step however often it is run.

Every image draws its own crop, its own operations and its own partner: nothing is drawn once for a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from supernet.augmentation_policies import policy_of
from supernet.data import Batch, Split
from supernet.data.dataset import Mixed
from supernet.data.originals import DRAWS, Originals
from supernet.image_operations import brightness, colour, contrast, cut_out, inside, per_image, shifted
from supernet.options import AugmentationOptions
from supernet.randomness import derived_rng

TRAINING = "augmentation"
# Pictures that are decoded together.
CUT_AT_ONCE = 256
# Tries of a crop or an erased rectangle until one lies in the image, and the ratios of width and height that are
# drawn (Inception's crops, arXiv 1409.4842, section 6; random erasing, 1708.04896, table 1).
TRIES = 10
CROP_RATIO, ERASED_RATIO, ERASED_AREA = (3 / 4, 4 / 3), (0.3, 1 / 0.3), (0.02, 1 / 3)


class Augmentation:
    """Batches of a split, augmented.

    Everything random about step `n` is derived from the seed, the purpose and `n`, and is drawn on the CPU, so that a
    resumed training sees the images that the interrupted one would have seen.

    Args:
        split: split of images, with a standardisation.
        purpose: batches of another one are others.

    Raises:
        ValueError: the split holds text, or images whose scale is not known; or a policy wants colours.
    """

    def __init__(self, split: Split, options: AugmentationOptions, seed: int, purpose: str = TRAINING) -> None:
        self.split, self.options, self.seed, self.purpose = split, options, seed, purpose
        if not options.is_on:
            return
        if split.stored.dim() != 4 or split.standardisation is None:
            raise ValueError("training.augmentation is for images; this data is not. Leave it out.")
        if (reason := options.misfit(split.stored.shape[1])) is not None:
            raise ValueError(reason)
        if split.texts is not None and (options.mixup or options.cutmix):
            raise ValueError("Images with texts cannot be mixed: set mixup and cutmix of training.augmentation to 0.")
        self._policy = policy_of(options.policy, options.policy_ops, options.policy_magnitude)

    def batch(self, index: Tensor, step: int, part: int = 0, device: torch.device | None = None) -> Batch:
        """Some examples as the networks eat them in this step.

        Args:
            part: part of the step, where a step's batch is split over processes or micro-batches.
            device: where they are wanted, and augmented; None: where the split is.
        """
        if not self.options.is_on:
            return self.split.batch(index, device)
        standardisation = self.split.standardisation
        assert standardisation is not None
        rng = derived_rng(self.seed, f"{self.purpose}/{part}", step)
        with torch.no_grad():
            stored_NCHW = self._pixels(index, step, part).to(device or self.split.y.device)
            pixels_NCHW = stored_NCHW.to(torch.float32) / standardisation.full_scale
            augmented_NCHW = self._pictures(pixels_NCHW, rng)
            inputs_NCHW = standardisation(augmented_NCHW.clamp(0, 1) * standardisation.full_scale)
            inputs_NCHW = erased(inputs_NCHW, self.options.erasing, rng)
            batch = self.split.around(inputs_NCHW, index, device)
            return mixed(batch, self.options.mixup, self.options.cutmix, rng)

    def batches(self, size: int, device: torch.device | None = None) -> Iterator[Batch]:
        """All examples in batches of this size, in order; each batch is a step."""
        if not self.options.is_on:
            yield from self.split.batches(size, device)
            return
        for step, index in enumerate(torch.arange(len(self.split), device=self.split.y.device).split(size)):
            yield self.batch(index, step, 0, device)

    def cut(self) -> Split:
        """The split with random crops of its pictures in place of the images; as it is, where none are cut of pictures.

        For examples that are used again where the pictures may not be there.
        """
        if self._originals is None:
            return self.split
        index = torch.arange(len(self.split), device=self.split.y.device)
        parts = [self._pixels(some, number, 0) for number, some in enumerate(index.split(CUT_AT_ONCE))]
        rows = None if self.split.rows is None else index
        return replace(self.split, stored=torch.cat(parts).to(index.device), originals=None, cropped=True, rows=rows)

    @property
    def reads_ahead(self) -> bool:
        """Whether `expect` does anything."""
        return self._originals is not None or self.split.reads_ahead

    def expect(self, index: Tensor, step: int, part: int = 0) -> None:
        """These examples are wanted next: what lies in files is read while the caller does something else."""
        if self._originals is not None:
            self._originals.expect(self._places(index), self._draws(len(index), step, part), self.options.resized_crop)
        else:
            self.split.expect(index)

    @property
    def _originals(self) -> Originals | None:
        """Pictures of which random crops are cut and only then resized, as the papers do; None: of what is stored."""
        return self.split.originals if self.options.resized_crop < 1 else None

    def _pixels(self, index: Tensor, step: int, part: int) -> Tensor:
        """Images as bytes, `NCHW`: as they are stored, or random crops of their originals."""
        if self._originals is None:
            return self.split.pixels(index)
        draws = self._draws(len(index), step, part)
        return torch.from_numpy(self._originals.crops(self._places(index), draws, self.options.resized_crop))

    def _places(self, index: Tensor) -> np.ndarray:
        """Places of the pictures of some examples."""
        places: np.ndarray = self.split.of_images(index).cpu().numpy()
        return places

    def _draws(self, count: int, step: int, part: int) -> np.ndarray:
        purpose = "crops" if self.purpose == TRAINING else f"crops of {self.purpose}"
        return derived_rng(self.seed, f"{purpose}/{part}", step).random((count, *DRAWS))

    def _pictures(self, x_NCHW: Tensor, rng: np.random.Generator) -> Tensor:
        """What is done to pixels in [0, 1], in the order of the options."""
        options = self.options
        if options.resized_crop < 1 and self._originals is None and not self.split.cropped:
            x_NCHW = resized_crops(x_NCHW, options.resized_crop, rng)
        if options.crop_padding:
            corners = rng.integers(2 * options.crop_padding + 1, size=(2, len(x_NCHW)))
            top_N, left_N = torch.from_numpy(corners).to(x_NCHW.device)
            x_NCHW = shifted(x_NCHW, top_N, left_N, options.crop_padding)
        if options.flip:
            flipped_N = torch.from_numpy(rng.random(len(x_NCHW)) < 0.5).to(x_NCHW.device)
            x_NCHW = torch.where(per_image(flipped_N), x_NCHW.flip(3), x_NCHW)
        if options.colour_jitter:
            x_NCHW = jittered(x_NCHW, options.colour_jitter, rng)
        return x_NCHW if self._policy is None else self._policy(x_NCHW, rng)


def resized_crops(x_NCHW: Tensor, least_area: float, rng: np.random.Generator) -> Tensor:
    """Random parts of at least this share of the area, at the size of the whole; the whole where no try fits."""
    high, wide = x_NCHW.shape[2:]
    box = _rectangles(len(x_NCHW), (high, wide), (least_area, 1.0), CROP_RATIO, rng)
    box[:, ~box.any(0)] = np.array([0, 0, high, wide])[:, None]
    return cut_out(x_NCHW, *torch.from_numpy(box.astype(np.float32)).to(x_NCHW.device))


def jittered(x_NCHW: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and colour, each times a factor from 1 - strength to 1 + strength."""
    for operation in (brightness, contrast, colour):
        factor_N = rng.uniform(1 - strength, 1 + strength, len(x_NCHW)).astype(np.float32)
        x_NCHW = operation(x_NCHW, torch.from_numpy(factor_N).to(x_NCHW.device))
    return x_NCHW


def erased(x_NCHW: Tensor, probability: float, rng: np.random.Generator) -> Tensor:
    """A rectangle of some images replaced by noise: of standardised images, so normal (random erasing, 1708.04896)."""
    if not probability:
        return x_NCHW
    chosen_N = rng.random(len(x_NCHW)) < probability
    top, left, height, width = _rectangles(len(x_NCHW), tuple(x_NCHW.shape[2:]), ERASED_AREA, ERASED_RATIO, rng)
    sides = (torch.from_numpy(side).to(x_NCHW.device) for side in (top, left, top + height, left + width))
    gone = inside(x_NCHW.shape, *sides) & per_image(torch.from_numpy(chosen_N).to(x_NCHW.device))
    noise = torch.from_numpy(rng.standard_normal(tuple(x_NCHW.shape), np.float32)).to(x_NCHW.device)
    return torch.where(gone, noise, x_NCHW)


def _rectangles(
    count: int,
    size: tuple[int, ...],
    area: tuple[float, float],
    ratio: tuple[float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Top, left, height and width in pixels, `(4, N)`: of the first try that fits; zeros where none does.

    Args:
        area: least and greatest, as a share of the image's.
        ratio: ratio of width to height, drawn evenly in its logarithm.
    """
    high, wide = size
    area_TN = rng.uniform(*area, (TRIES, count)) * high * wide
    ratio_TN = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), (TRIES, count)))
    height_TN, width_TN = np.sqrt(area_TN / ratio_TN).round(), np.sqrt(area_TN * ratio_TN).round()
    fits_TN = (height_TN >= 1) & (height_TN <= high) & (width_TN >= 1) & (width_TN <= wide)
    first_N, all_N = fits_TN.argmax(0), np.arange(count)
    height_N, width_N = (sides[first_N, all_N] * fits_TN.any(0) for sides in (height_TN, width_TN))
    place = rng.random((2, count))
    top_N, left_N = np.floor(place[0] * (high - height_N + 1)), np.floor(place[1] * (wide - width_N + 1))
    found = np.stack([top_N, left_N, height_N, width_N]) * fits_TN.any(0)
    return found.astype(np.int64)


def mixed(batch: Batch, mixup: float, cutmix: float, rng: np.random.Generator) -> Batch:
    """Every example mixed with another one, in a proportion of its own (mixup, 1710.09412; CutMix, 1905.04899).

    Where both are on, a coin decides for each example.

    Args:
        mixup, cutmix: both parameters of the beta distribution of the proportion; 0: off.
    """
    if not (mixup or cutmix):
        return batch
    count, device, x_NCHW = len(batch), batch.device, batch.x
    partner_N = torch.from_numpy(rng.permutation(count)).to(device)
    cut_N = np.full(count, not mixup) if not (mixup and cutmix) else rng.random(count) < 0.5
    share_N = np.ones(count)
    for alpha, which in ((mixup, ~cut_N), (cutmix, cut_N)):
        share_N[which] = rng.beta(alpha, alpha, int(which.sum())) if alpha else 1.0
    patch, real_N = _patches(share_N, x_NCHW.shape, rng, device)
    share_N = np.where(cut_N, real_N, share_N)
    kept_N = torch.from_numpy(share_N.astype(np.float32)).to(device)
    is_cut_N = per_image(torch.from_numpy(cut_N).to(device))
    whole = torch.lerp(x_NCHW[partner_N], x_NCHW, per_image(kept_N))
    inputs = torch.where(is_cut_N, torch.where(patch, x_NCHW[partner_N], x_NCHW), whole)
    return Batch.of(inputs, batch.targets, mixed=Mixed(batch.targets[partner_N], kept_N))


def _patches(
    share_N: np.ndarray, shape: torch.Size, rng: np.random.Generator, device: torch.device
) -> tuple[Tensor, np.ndarray]:
    """CutMix's rectangles, `(N, 1, H, W)`, and the share of every image that is left once they are cut at its edges."""
    high, wide = shape[2:]
    half_N = np.sqrt(1 - share_N) / 2
    middle = rng.random((2, len(share_N)))
    top, bottom = (np.clip((middle[0] + s * half_N) * high, 0, high).round().astype(np.int64) for s in (-1, 1))
    left, right = (np.clip((middle[1] + s * half_N) * wide, 0, wide).round().astype(np.int64) for s in (-1, 1))
    mask = inside(shape, *(torch.from_numpy(side).to(device) for side in (top, left, bottom, right)))
    return mask, 1 - (bottom - top) * (right - left) / (high * wide)


@contextmanager
def seeded(seed: int, purpose: str, position: int, device: torch.device) -> Iterator[None]:
    """Inside, torch's global generators are those of this purpose and position; outside, nothing has changed.

    For code that takes no generator, such as dropout.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(derived_rng(seed, purpose, position).integers(2**62)))
        yield
