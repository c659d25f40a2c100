"""Images in memory: decoding, corrupt files, memory, and three splits out of what a source has."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from supernet.data.dataset import DataError, Dataset, Split, Standardisation
from supernet.data.splitting import fewer, held_out, without

# Corrupt files that a message names.
NAMED = 5
# Share of the free memory that images may take.
MEMORY_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Labelled:
    """Images and labels of one part of a source, before it is split.

    Attributes:
        images: NCHW, uint8.
        labels: shape (N,), int64.
    """

    images: np.ndarray
    labels: np.ndarray

    def take(self, index: np.ndarray) -> Labelled:
        """Some of them."""
        return Labelled(self.images[index], self.labels[index])


@dataclass(slots=True)
class Decoder:
    """Turns files into pixels of one shape, and skips the few that cannot be read.

    Attributes:
        size: height and width of the result in pixels: the shorter side is scaled to it, then the centre is cut.
        channels: 1 or 3.
        skipped: what could not be decoded so far.
    """

    size: int
    channels: int
    skipped: list[str] = field(default_factory=list)

    def decode(self, encoded: bytes | Path) -> np.ndarray | None:
        """Pixels `(C, H, W)`, uint8; None for a file that is not a whole image."""
        from PIL import Image, ImageOps, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as opened:
                image = ImageOps.exif_transpose(opened).convert("RGB" if self.channels == 3 else "L")
                if image.size != (self.size, self.size):
                    image = ImageOps.fit(image, (self.size, self.size), Image.Resampling.BICUBIC)
                pixels = np.asarray(image, dtype=np.uint8)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            # PIL raises SyntaxError for a broken PNG, OSError for a truncated JPEG.
            return None
        return np.ascontiguousarray(pixels.reshape(self.size, self.size, self.channels).transpose(2, 0, 1))

    def decode_all(self, items: Iterable[tuple[str, bytes | Path, int]], count: int) -> Labelled:
        """Decode `(name, file, label)` one by one; what cannot be read is remembered in `skipped`.

        Raises:
            DataError: the images would not fit in memory.
        """
        check_memory(count * self.channels * self.size * self.size)
        images = np.empty((count, self.channels, self.size, self.size), dtype=np.uint8)
        labels = np.empty(count, dtype=np.int64)
        done = 0
        for name, encoded, label in items:
            pixels = self.decode(encoded)
            if pixels is None:
                self.skipped.append(name)
                continue
            images[done], labels[done] = pixels, label
            done += 1
        return Labelled(images[:done], labels[:done])

    def notes(self, total: int, allowed_share: float, name: str) -> tuple[str, ...]:
        """What to tell about the skipped files.

        Raises:
            DataError: more than the allowed share was skipped.
        """
        if not self.skipped:
            return ()
        some = ", ".join(self.skipped[:NAMED]) + (", ..." if len(self.skipped) > NAMED else "")
        found = f"{len(self.skipped)} of {total} images of {name} cannot be decoded"
        if len(self.skipped) > allowed_share * total:
            raise DataError(
                f"{found}, more than the allowed share of {allowed_share:g}: {some}. "
                "Repair or remove them, or raise data.corrupt_share."
            )
        return (f"{found} and are left out: {some}.",)


def check_memory(num_bytes: int) -> None:
    """Refuse what would push the machine into swapping.

    Raises:
        DataError: saying how much is needed and free.
    """
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if num_bytes > MEMORY_SHARE * free:
        raise DataError(
            f"The images take {num_bytes / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free. "
            "Choose a smaller data.size or a data.limit, or a machine with more memory."
        )


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
) -> Dataset:
    """Three splits with the standardisation of the training images.

    Raises:
        DataError: a split would be empty.
    """
    if len(train.labels) == 0:
        raise DataError(f"{name} has no training images.")
    if test is None:
        held = held_out(train.labels, carving.test_share, 0, name, "test")
        train, test = train.take(without(len(train.labels), held)), train.take(held)
    if carving.limit is not None:
        train = train.take(fewer(train.labels, carving.limit, name))
    held = held_out(train.labels, carving.validation_share, seed, name)
    validation, train = train.take(held), train.take(without(len(train.labels), held))
    mean, std = channel_statistics(train.images)
    standardisation = Standardisation(mean, std, full_scale=255.0)

    def split(part: Labelled) -> Split:
        return Split(torch.from_numpy(part.images), torch.from_numpy(part.labels), standardisation)

    _, channels, height, width = train.images.shape
    preprocessing: dict[str, Any] = {
        "input": f"pixels from 0 to 255, shape (batch, {channels}, {height}, {width}), float32",
        "formula": "(pixels - mean) / std",
        "mean": list(mean),
        "std": list(std),
        "labels": list(classes),
    }
    return Dataset(name, origin, preprocessing, split(train), split(validation), split(test), len(classes), notes)


def channel_statistics(images_NCHW: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel, exact and without a float copy of the images.

    A channel of one value gets a deviation of 1, so that standardising it gives zeros.
    """
    means, stds = [], []
    values = np.arange(256, dtype=np.float64)
    for channel in range(images_NCHW.shape[1]):
        counts = np.bincount(images_NCHW[:, channel].reshape(-1), minlength=256)
        mean = float((counts * values).sum() / counts.sum())
        std = float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))
        means.append(mean)
        stds.append(std or 1.0)
    return tuple(means), tuple(stds)


def need(path: str | None, source: str, example: str) -> Path:
    """The path that a source cannot do without.

    Raises:
        DataError: none was given, or nothing is there.
    """
    if not path:
        raise DataError(f"Data source {source!r} needs data.path, such as {example}.")
    found = Path(path).expanduser()
    if not found.exists():
        raise DataError(f"data.path is {path!r}, but nothing is there on this worker; give {example}.")
    return found
