"""Images: decoding one, corrupt files, statistics, and three splits out of what a source has."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from supernet.data.dataset import DataError, Dataset, Split, Standardisation
from supernet.data.fitting import Fit
from supernet.data.inventory import BEYOND_LIMIT, NAMED, Inventory, left_out
from supernet.data.on_disk import ImagesOnDisk
from supernet.data.originals import Originals
from supernet.data.parts import TEST, TRAIN, VALIDATION, sources_of
from supernet.data.pictures import BROKEN, Look, NotShown, White, opened
from supernet.data.splitting import fewer, held_out, without

if TYPE_CHECKING:
    from PIL import Image

# Pixels that are counted at once: counting takes eight bytes for each.
COUNTED_PIXELS = 2**22


@dataclass(frozen=True, slots=True)
class Labelled:
    """Images and labels of one part of a source, before it is split.

    Attributes:
        images: NCHW, uint8, in memory or in a file.
        labels: shape (N,), int64.
        skipped: name and reason of what could not be decoded.
        look: what the pictures were.
        originals: the pictures themselves, unread; None: there is nothing more in them than in the images.
    """

    images: np.ndarray | ImagesOnDisk
    labels: np.ndarray
    skipped: tuple[tuple[str, str], ...] = ()
    look: Look = field(default_factory=Look)
    originals: Originals | None = None

    def take(self, index: np.ndarray) -> Labelled:
        """Some of them: copies of images in memory, a view of those in a file."""
        images = self.images.take(index) if isinstance(self.images, ImagesOnDisk) else self.images[index]
        originals = None if self.originals is None else self.originals.take(index)
        return Labelled(images, self.labels[index], originals=originals)


def unseen(_found: Look | NotShown) -> None:
    """Nobody asks what a picture was."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """Turns files into pixels of one shape.

    Attributes:
        size: height and width of the result in pixels: the shorter side is scaled to it, then the centre is cut.
        channels: 1 or 3.
        fit: as a checkpoint's own processor fits pictures; None: as `size` says.
        white: the value of a white pixel in deep images of a set; None: as each file alone suggests.
        hear: called with what a picture was, or why a file is none.
    """

    size: int
    channels: int
    fit: Fit | None = None
    white: White | None = None
    hear: Callable[[Look | NotShown], object] = unseen

    def decode(self, encoded: bytes | Path) -> np.ndarray | None:
        """Pixels `(C, H, W)`, uint8; None for a file that shows no picture."""
        from PIL import Image, ImageOps

        image = self.picture(encoded)
        if image is None:
            return None
        if self.fit is not None:
            try:
                image = self.fit(image, self.size)
            except NotShown as error:
                self.hear(error)
                return None
        elif image.size != (self.size, self.size):
            image = ImageOps.fit(image, (self.size, self.size), Image.Resampling.BICUBIC)
        return self.pixels(image)

    def picture(self, encoded: bytes | Path) -> Image.Image | None:
        """The whole picture in the mode of `channels`; None for a file that shows none."""
        try:
            image, look = opened(encoded, self.channels, self.white)
        except NotShown as error:
            self.hear(error)
            return None
        self.hear(look)
        return image

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Pixels of a picture of `size` pixels a side, `(C, H, W)`, uint8."""
        pixels_HWC = np.asarray(image, dtype=np.uint8).reshape(self.size, self.size, self.channels)
        return np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1))

    @property
    def sizing(self) -> str:
        """How a picture gets its size, in words for cards: of everything but random crops of a training."""
        if self.fit is not None:
            return str(self.fit)
        return f"shorter side resized to {self.size} pixels (bicubic), centre of {self.size} pixels"


def corrupt_notes(parts: Iterable[Labelled | None], allowed_share: float, name: str) -> tuple[str, ...]:
    """What to tell about images that could not be decoded.

    Raises:
        DataError: they are more than the allowed share.
    """
    found = [part for part in parts if part is not None]
    skipped = [named(*file) for part in found for file in part.skipped]
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


def named(file: str, why: str) -> str:
    """A file that gives no picture, with the reason unless it is merely broken."""
    return file if why == BROKEN else f"{file} ({why})"


@dataclass(frozen=True, slots=True)
class Carving:
    """How splits are made of what a source has.

    Attributes:
        validation_share: share of the training images, held out for the search where the source has no part for that.
        test_share: share of all images, where the source has no test part; the same images for every seed.
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
    validation: Labelled | None = None,
    inventory: Inventory | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Dataset:
    """Three splits with the standardisation of the training images.

    Args:
        test, validation: the source's own; None: carved from the training images.
        full_scale: the value of a white pixel.
        inventory: what was read; None: every image, which is all there is to say.
        facts: more of the preprocessing, such as how pictures get their size.

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
    searched, train_index = validation, left
    if searched is None:
        held = held_out(train.labels[left], carving.validation_share, seed, name)
        searched, train_index = train.take(left[held]), left[without(len(left), held)]
    learned = train.take(train_index)
    mean, std = channel_statistics(learned.images)
    standardisation = Standardisation(mean, std, full_scale)

    def split(part: Labelled) -> Split:
        images = part.images if isinstance(part.images, ImagesOnDisk) else torch.from_numpy(part.images)
        return Split(images, torch.from_numpy(part.labels), standardisation, originals=part.originals)

    _, channels, height, width = train.images.shape
    preprocessing: dict[str, Any] = {
        "input": f"pixels from 0 to {full_scale:g}, shape (batch, {channels}, {height}, {width}), float32",
        "formula": "(pixels - mean) / std",
        "mean": list(mean),
        "std": list(std),
        "labels": list(classes),
        **(facts or {}),
    }
    used = len(learned.labels) + len(searched.labels) + len(test_index)
    return Dataset(
        name,
        origin,
        preprocessing,
        train=split(learned),
        validation=split(searched),
        test=split(tested.take(test_index)),
        num_classes=len(classes),
        notes=notes,
        inventory=inventory or _inventory({TRAIN: train, VALIDATION: validation, TEST: test}, used, carving, seed),
    )


def _inventory(given: Mapping[str, Labelled | None], used: int, carving: Carving, seed: int) -> Inventory:
    """What a source that says nothing has read: its images, of which so many are in a split."""
    parts = {role: part for role, part in given.items() if part is not None}
    skipped = [(why, file) for part in parts.values() for file, why in part.skipped]
    decoded = sum(len(part.labels) for part in parts.values())
    lost = left_out([*skipped, *[(BEYOND_LIMIT, "")] * (decoded - used)])
    shares = {VALIDATION: carving.validation_share, TEST: carving.test_share}
    sources = sources_of(dict.fromkeys(parts, "the source's own"), {}, seed, shares)
    return Inventory("images", decoded + len(skipped), lost, {}, sources)


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
