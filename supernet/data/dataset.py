"""Batch, Split, Dataset: examples as they lie in memory or in a file, and as a network eats them.

Images lie as bytes and become floats batch by batch, so CIFAR-10 takes 180 MB and not 740; sets that do not fit in
memory stay in a file, and batches are read from it. Text lies as token ids. N examples, C channels, H x W pixels,
T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, overload

import torch
from torch import Tensor

from search_space.inputs import IMAGES, INPUT, MASK, TEXTS, ImageInput, Input, PairInput, TokenInput
from supernet.data.errors import DataError
from supernet.data.inventory import Inventory
from supernet.data.on_disk import ImagesOnDisk
from supernet.data.originals import Originals
from supernet.inputs import Inputs, moved, named, num_bytes, part

__all__ = ["IGNORED", "Batch", "DataError", "Dataset", "Split", "Standardisation"]

# Target of a position whose prediction does not count, as torch's cross-entropy has it.
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Mixed:
    """What examples of a batch were mixed with.

    Attributes:
        targets: labels of the second example of each mixture, `y_N` (int64).
        share: what the first example, whose label is the batch's, has of it, `(N,)` in 0 to 1.
    """

    targets: Tensor
    share: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step trains on, or one forward pass evaluates.

    Attributes:
        inputs: by name: `input`, which is images `x_NCHW` (float32, standardised) or tokens `x_NT` (int64), and of
            padded texts `mask`, (N, T), True where a token is text.
        targets: labels `y_N`, or for language models the next token at every position, `y_NT` (int64); of pairs that
            are compared the numbers of image and text, `y_N2`.
        mixed: what its images were mixed with; None where they are as they were.
        partial: whether some targets of a language model do not count, such as those of a question.
    """

    inputs: Inputs
    targets: Tensor
    mixed: Mixed | None = None
    partial: bool = False

    @classmethod
    def of(
        cls,
        x: Tensor,
        targets: Tensor,
        mask: Tensor | None = None,
        mixed: Mixed | None = None,
        *,
        partial: bool = False,
    ) -> Batch:
        """A batch with one input, and perhaps its mask."""
        return cls(named(x, mask), targets, mixed, partial)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def x(self) -> Tensor:
        """The input of a batch that has one."""
        return self.inputs[INPUT]

    @property
    def mask(self) -> Tensor | None:
        """The mask of padded texts."""
        return self.inputs.get(MASK)

    @property
    def is_pairs(self) -> bool:
        """Whether it holds images with texts that are compared with one another, and have no class."""
        return TEXTS in self.inputs and self.targets.dim() == 2

    @property
    def is_language(self) -> bool:
        """Whether every position has a target of its own."""
        return self.targets.dim() == 2 and not self.is_pairs

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.targets.device

    @property
    def num_units(self) -> int:
        """Tokens of a batch of text, images of a batch of images: what speed is counted in."""
        x = self.inputs.get(INPUT)
        return x.numel() if x is not None and x.dim() == 2 else len(self.targets)

    @property
    def num_bytes(self) -> int:
        """Bytes of memory."""
        return num_bytes(self.inputs) + self.targets.nbytes

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        if self.device == device:
            return self
        mixed = None if self.mixed is None else Mixed(self.mixed.targets.to(device), self.mixed.share.to(device))
        return Batch(moved(self.inputs, device), self.targets.to(device), mixed, self.partial)

    def part(self, index: slice) -> Batch:
        """Some of its examples."""
        mixed = None if self.mixed is None else Mixed(self.mixed.targets[index], self.mixed.share[index])
        return Batch(part(self.inputs, index), self.targets[index], mixed, self.partial)

    @property
    def counted(self) -> Tensor | None:
        """(N, T), True where a target counts; None where all do."""
        return self.targets != IGNORED if self.partial else None


@dataclass(frozen=True, slots=True)
class Standardisation:
    """`(pixel - mean) / std` per channel, in the units of the stored pixels.

    Attributes:
        full_scale: the largest pixel value; augmentation sees pixels divided by it.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    full_scale: float

    def __call__(self, pixels_NCHW: Tensor) -> Tensor:
        """Standardised float32 images."""
        device = pixels_NCHW.device
        mean, std = (torch.tensor(v, dtype=torch.float32, device=device)[:, None, None] for v in (self.mean, self.std))
        standardised: Tensor = (pixels_NCHW.to(torch.float32) - mean) / std
        return standardised


@dataclass(frozen=True, slots=True)
class Prompts:
    """Texts that name classes, for zero-shot classification.

    Attributes:
        texts: token ids (P, T), int32.
        classes: classes of each text, (P,), int64.
        labels: class of each example's image, (N,), int64.
    """

    texts: Tensor
    classes: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Split:
    """Examples as they lie in memory, or images in a file.

    Attributes:
        stored: images `NCHW` (uint8, or float32 that are standardised already) or token ids `NT`.
        y: labels `(N,)`, or the next token at every position `(N, T)`; of pairs that are compared the numbers of image
            and text, `(N, 2)`: those that are equal have the same number.
        standardisation: from stored pixels to what networks eat; None where they eat what is stored.
        lengths: number of real tokens of every padded text, `(N,)`; None where nothing is padded.
        partial: whether some targets of a language model do not count.
        originals: the pictures that stored images were made of, for random crops; None: there is no more in them.
        cropped: whether the stored images are random crops already, of which none is cut again.
        texts: texts of pairs, token ids `(N, T)`, int32; None: examples have one input.
        rows: which stored image each pair has, `(N,)`, int64: an image with several texts is stored once.
        prompts: prompts of pairs whose images have classes.
    """

    stored: Tensor | ImagesOnDisk
    y: Tensor
    standardisation: Standardisation | None = None
    lengths: Tensor | None = None
    originals: Originals | None = None
    partial: bool = False
    cropped: bool = False
    texts: Tensor | None = None
    rows: Tensor | None = None
    prompts: Prompts | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def is_language(self) -> bool:
        """Whether every position has a target of its own."""
        return self.y.dim() == 2 and self.texts is None

    @property
    def is_pairs(self) -> bool:
        """Whether images and texts are compared with one another, and no pair has a class."""
        return self.y.dim() == 2 and self.texts is not None

    @property
    def metric(self) -> str:
        """What networks are scored by: `accuracy`, `perplexity` of language models, `recall_at_1` of pairs that are
        compared."""
        if self.is_pairs:
            return "recall_at_1"
        return "perplexity" if self.is_language else "accuracy"

    @property
    def x(self) -> Tensor:
        """Every input at once, as a network eats it: for splits that are small."""
        return self.inputs(slice(None))[INPUT]

    def inputs(self, index: Tensor | slice, device: torch.device | None = None) -> Inputs:
        """Some inputs as a network eats them, by name.

        Args:
            device: where they are wanted; bytes move there before they become floats. None: where the split is.
        """
        if self.texts is not None:
            images = self._ready(self.of_images(index), device)
            return {IMAGES: images, TEXTS: self.texts[index].to(device).long()}
        mask = self.mask(index)
        return named(self._ready(index, device), None if mask is None else mask.to(device))

    def pixels(self, index: Tensor | slice) -> Tensor:
        """Stored images of some examples, `NCHW`."""
        return self.stored[self.of_images(index)]

    @overload
    def of_images(self, index: Tensor) -> Tensor: ...

    @overload
    def of_images(self, index: Tensor | slice) -> Tensor | slice: ...

    def of_images(self, index: Tensor | slice) -> Tensor | slice:
        """Where the images of some examples are stored."""
        return index if self.rows is None else self.rows[index]

    def around(self, images_NCHW: Tensor, index: Tensor, device: torch.device | None) -> Batch:
        """The batch of some examples with these images in place of their own."""
        targets = self.y[index].to(device).long()
        if self.texts is None:
            return Batch.of(images_NCHW, targets)
        return Batch({IMAGES: images_NCHW, TEXTS: self.texts[index].to(device).long()}, targets)

    def _ready(self, index: Tensor | slice, device: torch.device | None) -> Tensor:
        chosen = self.stored[index].to(device)
        if not chosen.is_floating_point() and chosen.dim() == 2:
            return chosen.long()
        return chosen if self.standardisation is None else self.standardisation(chosen)

    def batch(self, index: Tensor | slice, device: torch.device | None = None) -> Batch:
        """Some examples as a network eats them; on a device as `inputs`."""
        return Batch(self.inputs(index, device), self.y[index].to(device).long(), partial=self.partial)

    def num_targets(self, index: Tensor) -> int:
        """Targets of some examples: labels, or texts; where some targets do not count, those that do."""
        return int((self.y[index.to(self.y.device)] != IGNORED).sum()) if self.partial else len(index)

    def batches(self, size: int, device: torch.device | None = None) -> Iterator[Batch]:
        """All examples in batches of this size, in order; images in a file are read a batch ahead."""
        for start in range(0, len(self), size):
            batch = self.batch(slice(start, start + size), device)
            if start + size < len(self):
                self.expect(slice(start + size, start + 2 * size))
            yield batch

    def mask(self, index: Tensor | slice) -> Tensor | None:
        """True where a token of these texts is not padding; None where nothing is padded."""
        if self.lengths is None:
            return None
        positions_T = torch.arange(self.stored.shape[1], device=self.stored.device)
        return positions_T < self.lengths[index][:, None]

    def take(self, index: Tensor) -> Split:
        """The split of these examples; of images in a file a view, for which nothing is read."""
        if self.rows is not None:
            return self._taken(index, self.rows)
        stored = self.stored.take(index) if isinstance(self.stored, ImagesOnDisk) else self.stored[index]
        lengths = None if self.lengths is None else self.lengths[index]
        originals = None if self.originals is None else self.originals.take(index.cpu().numpy())
        return replace(self, stored=stored, y=self.y[index], lengths=lengths, originals=originals)

    def _taken(self, index: Tensor, rows: Tensor) -> Split:
        """The split of these pairs, with the images that they have."""
        assert self.texts is not None
        kept, places = rows[index].unique(return_inverse=True)
        images = replace(self, y=rows, texts=None, rows=None, prompts=None).take(kept)
        prompts = None if self.prompts is None else replace(self.prompts, labels=self.prompts.labels[index])
        return replace(images, y=self.y[index], texts=self.texts[index], rows=places, prompts=prompts)

    @property
    def reads_ahead(self) -> bool:
        """Whether `expect` does anything."""
        return isinstance(self.stored, ImagesOnDisk)

    def expect(self, index: Tensor | slice) -> None:
        """These examples are wanted next: images in a file are read while the caller does something else."""
        if isinstance(self.stored, ImagesOnDisk):
            self.stored.expect(self.of_images(index))

    def to(self, device: torch.device) -> Split:
        """The same split on a device; images in a file stay there, and batches move."""
        if isinstance(self.stored, ImagesOnDisk):
            return self
        lengths, texts, rows = (
            None if tensor is None else tensor.to(device) for tensor in (self.lengths, self.texts, self.rows)
        )
        return replace(
            self, stored=self.stored.to(device), y=self.y.to(device), lengths=lengths, texts=texts, rows=rows
        )

    @property
    def num_bytes(self) -> int:
        """Bytes of memory."""
        return sum(held.nbytes for held in (self.stored, self.y, self.lengths, self.texts) if held is not None)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A named source with its splits.

    Attributes:
        origin: where the data came from, for model cards.
        preprocessing: what turns a raw input into what the network expects, as JSON-able facts.
        num_classes: number of labels; for language models the size of the vocabulary, of pairs that are compared the
            number of images.
        notes: what a user should know about how it was read, such as skipped files.
        inventory: what was found and what was made of it; None: the source does not say.
    """

    name: str
    origin: str
    preprocessing: dict[str, Any]
    train: Split
    validation: Split
    test: Split
    num_classes: int
    notes: tuple[str, ...] = ()
    inventory: Inventory | None = None

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def gives(self) -> Input:
        """What networks get from it."""
        shape, texts = self.train.stored.shape, self.train.texts
        if texts is not None:
            length, facts = texts.shape[1], self.preprocessing
            classes = None if self.train.is_pairs else self.num_classes
            return PairInput(shape[1], shape[2], facts["vocab"], length, length, end=facts.get("end"), classes=classes)
        if len(shape) == 4:
            return ImageInput(channels=shape[1], size=shape[2], classes=self.num_classes)
        classes = None if self.train.is_language else self.num_classes
        return TokenInput(self.preprocessing["vocab"], shape[1], shape[1], classes)

    @property
    def metric(self) -> str:
        """What networks are scored by: see `Split`."""
        return self.train.metric

    @property
    def num_bytes(self) -> int:
        """Bytes of memory of all splits."""
        return sum(split.num_bytes for split in self.splits.values())

    def to(self, device: torch.device) -> Dataset:
        """The same data set on a device."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
        )

    def check(self) -> None:
        """Refuse what no network could learn from.

        Raises:
            DataError: an empty split, one class, numbers that are not finite, images without content, or labels out of
            range.
        """
        for name, split in self.splits.items():
            if len(split) == 0:
                raise DataError(f"The {name} split of {self.name} is empty; give more data or a larger share of it.")
            stored = split.stored
            if isinstance(stored, Tensor) and stored.is_floating_point() and not bool(torch.isfinite(stored).all()):
                bad = int((~torch.isfinite(stored)).flatten(1).any(1).sum())
                raise DataError(
                    f"{bad} of {len(split)} {name} examples of {self.name} hold NaN or infinity; remove or repair them."
                )
            if not split.is_pairs:
                self._check_labels(name, split)
            elif len(split.y.unique(dim=0)) < 2:
                raise DataError(f"The {name} pairs of {self.name} are one pair: there is nothing to tell apart.")
        for name, split in self.splits.items():
            self._check_pixels(name, split)

    def _check_pixels(self, name: str, split: Split) -> None:
        """Pictures that show nothing, such as deep ones that a reader has cut off at white."""
        if split.stored.dim() == 4 and len(split.stored) > 1 and _is_plain(split.stored):
            raise DataError(
                f"Every pixel of the {len(split)} {name} images of {self.name} has the same value: there is nothing to "
                "see in them. Look at the files: they may be empty, or their pixels may have a range of their own."
            )

    def _check_labels(self, name: str, split: Split) -> None:
        labels = split.y[split.y != IGNORED]
        if len(labels) == 0:
            raise DataError(f"No {name} example of {self.name} has a label.")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= self.num_classes:
            kind = "tokens" if split.is_language else "labels"
            raise DataError(
                f"{name.capitalize()} {kind} of {self.name} go from {low} to {high}; "
                f"with {self.num_classes} classes they must lie in 0 to {self.num_classes - 1}."
            )
        if name == "train" and low == high:
            raise DataError(
                f"Every training example of {self.name} has the same label ({low}): there is nothing to learn. "
                "Give data with at least two classes."
            )


def _is_plain(images: Tensor | ImagesOnDisk) -> bool:
    """Whether all pixels of all images and channels are equal."""
    if isinstance(images, ImagesOnDisk):
        totals, squares = (sums.tolist() for sums in images.sums())
        count = len(images) * images.shape[2] * images.shape[3]
        spread = any(count * square != total * total for total, square in zip(totals, squares, strict=True))
        return not spread and len(set(totals)) == 1
    first = images[:1].flatten()[:1]
    return all(bool((images[start : start + 1024] == first).all()) for start in range(0, len(images), 1024))
