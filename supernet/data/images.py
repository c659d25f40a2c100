"""Images: decoding one, corrupt files, statistics, and three splits out of what a source has."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from supernet.data.dataset import DataError, Dataset, Split, Standardisation
from supernet.data.fitting import Fit
from supernet.data.on_disk import ImagesOnDisk
from supernet.data.splitting import fewer, held_out, without

# Corrupt files that a message names.
NAMED = 5
# Pixels that are counted at once: counting takes eight bytes for each.
COUNTED_PIXELS = 2**22


@dataclass(frozen=True, slots=True)
class Labelled:
    """Images and labels of one part of a source, before it is split.

    Attributes:
        images: NCHW, uint8, in memory or in a file.
        labels: shape (N,), int64.
        skipped: names of what could not be decoded.
    """

    images: np.ndarray | ImagesOnDisk
    labels: np.ndarray
    skipped: tuple[str, ...] = ()

    def take(self, index: np.ndarray) -> Labelled:
        """Some of them: copies of images in memory, a view of those in a file."""
        images = self.images.take(index) if isinstance(self.images, ImagesOnDisk) else self.images[index]
        return Labelled(images, self.labels[index])


@dataclass(frozen=True, slots=True)
class Decoder:
    """Turns files into pixels of one shape.

    Attributes:
        size: height and width of the result in pixels: the shorter side is scaled to it, then the centre is cut.
        channels: 1 or 3.
    """

    size: int
    channels: int
    # As a checkpoint's own processor fits pictures; None: as `size` says.
    fit: Fit | None = None

    def decode(self, encoded: bytes | Path) -> np.ndarray | None:
        """Pixels `(C, H, W)`, uint8; None for a file that is not a whole image."""
        from PIL import Image, ImageOps, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as opened:
                image = ImageOps.exif_transpose(opened).convert("RGB" if self.channels == 3 else "L")
                if self.fit is None and image.size != (self.size, self.size):
                    image = ImageOps.fit(image, (self.size, self.size), Image.Resampling.BICUBIC)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            # PIL raises SyntaxError for a broken PNG, OSError for a truncated JPEG.
            return None
        pixels = np.asarray(image if self.fit is None else self.fit(image, self.size), dtype=np.uint8)
        return np.ascontiguousarray(pixels.reshape(self.size, self.size, self.channels).transpose(2, 0, 1))


def corrupt_notes(parts: Iterable[Labelled | None], allowed_share: float, name: str) -> tuple[str, ...]:
    """What to tell about images that could not be decoded.

    Raises:
        DataError: they are more than the allowed share.
    """
    found = [part for part in parts if part is not None]
    skipped = [file for part in found for file in part.skipped]
    if not skipped:
        return ()
    total = len(skipped) + sum(len(part.labels) for part in found)
    some = ", ".join(skipped[:NAMED]) + (", ..." if len(skipped) > NAMED else "")
    said = f"{len(skipped)} of {total} images of {name} cannot be decoded"
    if len(skipped) > allowed_share * total:
        raise DataError(
            f"{said}, more than the allowed share of {allowed_share:g}: {some}. "
            "Repair or remove them, or raise data.corrupt_share."
        )
    return (f"{said} and are left out: {some}.",)


@dataclass(frozen=True, slots=True)
class Carving:
    """How splits are made of what a source has.

    Attributes:
        validation_share: of the training images, held out for the search.
        test_share: of all images, where the source has no test part; the same images for every seed.
        limit: use at most so many training images; None uses all.
    """

    validation_share: float
    test_share: float
    limit: int | None


def image_dataset(
    name: str,
    origin: str,
    train: Labelled,
    test: Labelled | None,
    classes: Sequence[str],
    carving: Carving,
    seed: int,
    notes: tuple[str, ...] = (),
    *,
    full_scale: float = 255.0,
) -> Dataset:
    """Three splits with the standardisation of the training images.

    Args:
        full_scale: the value of a white pixel.

    Raises:
        DataError: a split would be empty.
    """
    if len(train.labels) == 0:
        raise DataError(f"{name} has no training images.")
    left = np.arange(len(train.labels))
    tested, test_index = test, np.arange(0 if test is None else len(test.labels))
    if tested is None:
        test_index = held_out(train.labels, carving.test_share, 0, name, "test")
        tested, left = train, without(len(left), test_index)
    if carving.limit is not None:
        left = left[fewer(train.labels[left], carving.limit, name)]
    held = held_out(train.labels[left], carving.validation_share, seed, name)
    validation_index, train_index = left[held], left[without(len(left), held)]
    learned = train.take(train_index)
    mean, std = channel_statistics(learned.images)
    standardisation = Standardisation(mean, std, full_scale)

    def split(part: Labelled) -> Split:
        images = part.images if isinstance(part.images, ImagesOnDisk) else torch.from_numpy(part.images)
        return Split(images, torch.from_numpy(part.labels), standardisation)

    _, channels, height, width = train.images.shape
    preprocessing: dict[str, Any] = {
        "input": f"pixels from 0 to {full_scale:g}, shape (batch, {channels}, {height}, {width}), float32",
        "formula": "(pixels - mean) / std",
        "mean": list(mean),
        "std": list(std),
        "labels": list(classes),
    }
    return Dataset(
        name,
        origin,
        preprocessing,
        train=split(learned),
        validation=split(train.take(validation_index)),
        test=split(tested.take(test_index)),
        num_classes=len(classes),
        notes=notes,
    )


def channel_statistics(images_NCHW: np.ndarray | ImagesOnDisk) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel, exact and without a float copy of the images.

    A channel of one value gets a deviation of 1, so that standardising it gives zeros.
    """
    num, channels, height, width = images_NCHW.shape
    if isinstance(images_NCHW, ImagesOnDisk):
        return from_sums(num * height * width, *images_NCHW.sums())
    at_once = max(1, COUNTED_PIXELS // (height * width))
    counts = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, num, at_once):
        for channel in range(channels):
            pixels = images_NCHW[start : start + at_once, channel]
            counts[channel] += np.bincount(pixels.reshape(-1), minlength=256)
    values = np.arange(256)
    return from_sums(num * height * width, counts @ values, counts @ values**2)


def from_sums(count: int, sums: np.ndarray, squares: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation from integer sums of values and of their squares, each (C,): exact until the last rounding."""
    means, stds = [], []
    for total, square in zip(sums.tolist(), squares.tolist(), strict=True):
        means.append(total / count)
        stds.append(math.sqrt((count * square - total * total) / count**2) or 1.0)
    return tuple(means), tuple(stds)


def stamp(file: Path) -> tuple[str, int, int]:
    """What changes when a file does: path, bytes, nanoseconds of its last change; or that it is not there."""
    try:
        facts = file.stat()
    except OSError:
        return str(file.absolute()), -1, -1
    return str(file.absolute()), facts.st_size, facts.st_mtime_ns


def need(path: str, example: str) -> Path:
    """The path that a source cannot do without.

    Raises:
        DataError: nothing is there.
    """
    found = Path(path).expanduser()
    if not found.exists():
        raise DataError(f"data.path is {path!r}, but nothing is there on this worker; give {example}.")
    return found
