"""Pairs of images and texts made a data set: images decoded once, each with all its texts, tokenized to one length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from supernet.data.dataset import DataError, Dataset, Prompts, Split, Standardisation
from supernet.data.decoding import Decoding, Encoded, decode, sized
from supernet.data.image_parts import ImageWords, decoder_of
from supernet.data.images import Labelled, channel_statistics, corrupt_notes
from supernet.data.inventory import BEYOND_LIMIT, Inventory, left_out
from supernet.data.labels import alike
from supernet.data.on_disk import ImagesOnDisk
from supernet.data.parts import TEST, TRAIN, VALIDATION, sources_of
from supernet.data.pictures import Look
from supernet.data.splitting import without
from supernet.data.text import class_names
from supernet.data.tokens import Tokenizer, tokenizer

# The value of a white pixel.
WHITE = 255.0


@dataclass(frozen=True, slots=True)
class Captioned:
    """An image's texts.

    Attributes:
        name: name of the image.
        label: its class; None: it has none.
        answers: the class of the image with each of its texts; empty: such pairs have none.
    """

    name: str
    texts: tuple[str, ...]
    label: str | None = None
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PairPart:
    """Images of one part of a source.

    Attributes:
        encoded: the images, whose labels are their places in `captioned`.
        rows: rows of its table.
        left_out: reason and name of rows that are none of it.
    """

    encoded: Encoded
    captioned: tuple[Captioned, ...]
    rows: int
    left_out: tuple[tuple[str, str], ...] = ()

    def renamed(self, name: Callable[[str], str]) -> PairPart:
        """The same with other names of the pairs' classes."""
        captioned = (replace(one, answers=tuple(map(name, one.answers))) for one in self.captioned)
        return replace(self, captioned=tuple(captioned))


@dataclass(frozen=True, slots=True)
class PairTables:
    """What was read of a source.

    Attributes:
        parts: by role; `train` is there.
        names: names of all parts that the owner made, by role.
        columns: by role.
        classes: classes of the pairs, in their order; empty where pairs have none and are compared.
    """

    parts: Mapping[str, PairPart]
    names: Mapping[str, str]
    columns: Mapping[str, str]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PairWords:
    """How texts become token ids.

    Attributes:
        tokenizer: a checkpoint; None: bytes.
        templates: texts of a class, with `{}` in place of its name.
    """

    tokenizer: str | None
    lower_case: bool
    length: int
    templates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Images of a part that could be decoded, with their texts; `labelled.labels` are places in `captioned`."""

    labelled: Labelled
    captioned: Sequence[Captioned]

    def __len__(self) -> int:
        return len(self.labelled.labels)

    def take(self, index: np.ndarray) -> _Decoded:
        return _Decoded(self.labelled.take(index), self.captioned)

    @property
    def each(self) -> list[Captioned]:
        """In the order of the images."""
        return [self.captioned[place] for place in self.labelled.labels.tolist()]


def pairs_dataset(
    name: str, origin: str, read: PairTables, words: PairWords, asked: ImageWords, seed: int, decoding: Decoding
) -> Dataset:
    """The data set of a source's parts: three splits of pairs, each image with all of its texts in one of them.

    Raises:
        DataError: too many images cannot be decoded, or rows lack a text or a label; images fit nowhere, or a split
            would be empty.
    """
    parts, answers = read.parts, read.classes
    roles = [role for role in (TRAIN, VALIDATION, TEST) if role in parts]
    for role in roles:
        _refuse_incomplete(parts[role], asked.corrupt_share, f"the {role} part of {name}", labelled=bool(answers))
    if answers:
        decoding.classes(answers)
    decoder = decoder_of(asked)
    encoded = [parts[role].encoded for role in roles]
    decoded = dict(zip(roles, decode(name, encoded, decoder, asked.storage, decoding), strict=True))
    notes = corrupt_notes(decoded.values(), asked.corrupt_share, name)
    found = {role: _Decoded(decoded[role], parts[role].captioned) for role in roles}
    splits, beyond = _carved(found, name, asked, seed)
    classes = _classes(splits)
    reader = tokenizer(words.tokenizer)
    mean, std = channel_statistics(splits[TRAIN].labelled.images)
    standardisation = Standardisation(mean, std, WHITE)
    prompts = _prompts(classes, words, reader)
    made = {
        role: _split(part, words, reader, standardisation, classes, prompts, answers) for role, part in splits.items()
    }
    skipped = [row for role in roles for row in parts[role].left_out]
    skipped += [(why, file) for part in decoded.values() for file, why in part.skipped]
    skipped += [(BEYOND_LIMIT, "")] * beyond
    look = sum((part.look for part in decoded.values()), Look())
    shares = {VALIDATION: asked.validation_share, TEST: asked.test_share}
    size, channels = asked.size, asked.channels
    end = _end(reader, made)
    return Dataset(
        name,
        origin,
        {
            "input": f"pixels from 0 to 255, shape (batch, {channels}, {size}, {size}), float32, and token ids, shape "
            f"(batch, {words.length}), int64, padded with {reader.padding}",
            "formula": f"(pixels - mean) / std; tokens of {reader.name}{', lower case' if words.lower_case else ''}",
            "mean": list(mean),
            "std": list(std),
            "tokenizer": reader.name,
            "vocab": reader.vocab,
            "length": words.length,
            "padding": reader.padding,
            "lower_case": words.lower_case,
            "resize": sized(decoder, decoding).sizing,
            **({} if end is None else {"end": end}),
            **({"classes": list(classes), "templates": list(words.templates)} if classes else {}),
            **({"labels": list(answers)} if answers else {}),
        },
        train=made[TRAIN],
        validation=made[VALIDATION],
        test=made[TEST],
        num_classes=len(answers) or sum(map(len, splits.values())),
        notes=(*notes, *alike(answers)),
        inventory=Inventory(
            "images",
            len(skipped) + sum(map(len, splits.values())),
            left_out(skipped),
            read.columns,
            sources_of(read.names, {}, seed, shares),
            (*_counts(made), *look.remarks(), *alike(answers)),
        ),
    )


def _refuse_incomplete(part: PairPart, allowed: float, where: str, *, labelled: bool) -> None:
    """Refuse a part many of whose images have no text, or no label.

    Raises:
        DataError: with the first of them.
    """
    if part.captioned and len(part.left_out) <= allowed * part.rows:
        return
    some = ", ".join(f"{name} is {why}" if labelled else name for why, name in part.left_out[:5])
    lack, right, column = (
        ("text or no label", "row a text and a label", "columns in data.text and data.label")
        if labelled
        else ("text", "image a text", "column in data.text")
    )
    raise DataError(
        f"{len(part.left_out)} of {part.rows} rows of {where} have no {lack}, more than the allowed share of "
        f"{allowed:g}{': ' if some else ''}{some}. Give each {right}, name the right {column}, or raise "
        "data.corrupt_share."
    )


def _carved(found: Mapping[str, _Decoded], name: str, asked: ImageWords, seed: int) -> tuple[dict[str, _Decoded], int]:
    """Every split's images, and how many are beyond the limit."""
    splits = dict(found)
    beyond = 0
    if TEST not in splits:
        splits[TRAIN], splits[TEST] = _held_out(splits[TRAIN], asked.test_share, 0, name, TEST)
    if asked.limit is not None and asked.limit < len(splits[TRAIN]):
        beyond = len(splits[TRAIN]) - asked.limit
        kept = np.sort(np.random.default_rng(0).permutation(len(splits[TRAIN]))[: asked.limit])
        splits[TRAIN] = splits[TRAIN].take(kept)
    if VALIDATION not in splits:
        splits[TRAIN], splits[VALIDATION] = _held_out(splits[TRAIN], asked.validation_share, seed, name, VALIDATION)
    return splits, beyond


def _held_out(part: _Decoded, share: float, seed: int, name: str, split: str) -> tuple[_Decoded, _Decoded]:
    """What is left of a part, and a share of its images with all their texts."""
    count = round(share * len(part))
    if not 0 < count < len(part):
        raise DataError(
            f"A share of {share:g} of the {len(part)} training images of {name} leaves the {split} split with {count}; "
            "give more images or another share."
        )
    held = np.sort(np.random.default_rng(seed).permutation(len(part))[:count])
    return part.take(without(len(part), held)), part.take(held)


def _classes(splits: Mapping[str, _Decoded]) -> tuple[str, ...]:
    """Names of the classes; none where images have none."""
    words = [one.label for part in splits.values() for one in part.each if one.label is not None]
    return class_names(words)


def _prompts(classes: Sequence[str], words: PairWords, reader: Tokenizer) -> tuple[Tensor, Tensor] | None:
    """Token ids of every text of every class, and their classes."""
    if not classes:
        return None
    filled = [template.replace("{}", name) for name in classes for template in words.templates]
    ids = _ids(filled, words, reader)
    return ids, torch.arange(len(classes)).repeat_interleave(len(words.templates))


def _ids(texts: Sequence[str], words: PairWords, reader: Tokenizer) -> Tensor:
    ids, _ = reader.texts([text.lower() for text in texts] if words.lower_case else texts, words.length)
    return torch.from_numpy(ids)


def _split(
    part: _Decoded,
    words: PairWords,
    reader: Tokenizer,
    standardisation: Standardisation,
    classes: Sequence[str],
    prompts: tuple[Tensor, Tensor] | None,
    answers: Sequence[str],
) -> Split:
    """One part as networks eat it.

    Args:
        classes, prompts: classes of images and texts that name them, for `zero_shot_accuracy`.
        answers: classes of the pairs; none: they are compared.
    """
    each = part.each
    rows = torch.tensor([place for place, one in enumerate(each) for _ in one.texts], dtype=torch.int64)
    ids = _ids([text for one in each for text in one.texts], words, reader)
    images = part.labelled.images
    asked = None
    if prompts is not None:
        known = {name: number for number, name in enumerate(classes)}
        missing = [one.name for one in each if one.label is None]
        if missing:
            raise DataError(f"{len(missing)} images have no class in data.label, such as {missing[0]}; give them one.")
        labels = torch.tensor([known[str(one.label)] for one in each], dtype=torch.int64)
        asked = Prompts(*prompts, labels[rows])
    return Split(
        images if isinstance(images, ImagesOnDisk) else torch.from_numpy(images),
        _numbered(each, answers) if answers else _compared(rows, ids),
        standardisation,
        originals=part.labelled.originals,
        texts=ids,
        rows=rows,
        prompts=asked,
    )


def _compared(rows: Tensor, ids: Tensor) -> Tensor:
    """Numbers of each pair's image and text; texts of the same tokens are one text, as networks see them."""
    return torch.stack((rows, _different(ids)), dim=1)


def _numbered(each: Sequence[Captioned], answers: Sequence[str]) -> Tensor:
    """The class of each pair."""
    number = {name: place for place, name in enumerate(answers)}
    return torch.tensor([number[answer] for one in each for answer in one.answers], dtype=torch.int64)


def _different(ids: Tensor) -> Tensor:
    """A number for each text, the same for texts of the same tokens."""
    numbers: Tensor
    _, numbers = ids.unique(dim=0, return_inverse=True)
    return numbers


def _end(reader: Tokenizer, splits: Mapping[str, Split]) -> int | None:
    """The token that ends every text; None where the tokenizer has none, or some text lacks it."""
    end = reader.ends
    every = [split.texts for split in splits.values() if split.texts is not None]
    if end is None or not all(bool((texts == end).any(1).all()) for texts in every):
        return None
    return end


def _counts(splits: Mapping[str, Split]) -> tuple[str, ...]:
    """How many texts there are to how many images."""
    said = []
    for role, split in splits.items():
        assert split.texts is not None
        images, texts, different = len(split.stored), len(split), len(_different(split.texts).unique())
        more = "" if different == texts else f", {different:,} of them different"
        said.append(f"{role.capitalize()}: {texts:,} texts of {images:,} images{more}.")
    return tuple(said)
