"""A job's data as its checkpoint was trained on them: its own preprocessing of images, its own numbers of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from job.data_spec import DataPart
from job.spec import JobSpec
from search_space.companions import Numbering, Preprocessing, numbering
from supernet.data import DataError, Dataset, Decoding, Split, Standardisation, load_dataset
from supernet.data.fitting import Fit

# What transformers reads a tokenizer from, and how a language model generates.
TOKENIZER = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
GENERATION = "generation_config.json"


def job_data(spec: JobSpec, decoding: Decoding) -> Dataset:
    """The data of a job: for training, search, calibration and exports alike.

    Raises:
        DataError: they cannot be used, or their classes cannot be matched with those of an untrained checkpoint.
        OSError: decoded images do not fit on the disk (`ENOSPC`).
    """
    found = spec.supernet.found
    given = None if found is None or found.preprocessing is None else found.preprocessing.made()
    if given is not None:
        decoding = replace(decoding, fit=Fit(given.edge, given.keeps_ratio, given.resample, given.crop))
    data = load_dataset(spec.data.source, spec.training.seed, spec.data, decoding)
    if given is not None:
        data = prepared_as(data, given, spec.data)
    names = data.preprocessing.get("labels")
    matched = None if names is None else numbering_of(spec, names)
    return data if matched is None else _numbered(data, spec, matched)


def companion_files(spec: JobSpec) -> tuple[Path, ...]:
    """Files that an export takes along: the tokenizer of the data, and how the checkpoint generates text."""
    reader, own = getattr(spec.data, "tokenizer", None), spec.supernet.folders
    wanted = [] if reader is None else [Path(reader) / name for name in TOKENIZER]
    # Of several checkpoints the first that has one: those of a series generate alike.
    wanted += [file for folder in own if (file := Path(folder) / GENERATION).is_file()][:1]
    return tuple(file for file in wanted if file.is_file())


def without_tokenizer(spec: JobSpec) -> str | None:
    """What to say of an export that has no tokenizer to take along; None where it has one, or needs none."""
    reader = getattr(spec.data, "tokenizer", None)
    if reader is None or any((Path(reader) / name).is_file() for name in TOKENIZER):
        return None
    return f"The tokenizer's files are not in {reader} any more, so this export lacks them."


def prepared_as(data: Dataset, given: Preprocessing, asked: DataPart) -> Dataset:
    """Images standardised as the checkpoint's were.

    Raises:
        DataError: the source's images have one size, and the checkpoint wants them cut out of larger ones.
    """
    size = data.train.stored.shape[-1]
    if asked.gives() is not None and ({given.edge, given.crop} - {None, size}):
        raise DataError(
            f"The checkpoint's pictures are prepared as: {given}. Images of data source {asked.source!r} have {size} "
            "pixels and are not resized; give them as a folder of images."
        )
    assert data.train.standardisation is not None
    full_scale = data.train.standardisation.full_scale
    mean, std = given.pixel_statistics(full_scale)
    facts = {"mean": list(mean), "std": list(std), "resize": str(given)}
    own = Standardisation(mean, std, full_scale)

    def standardised(split: Split) -> Split:
        return replace(split, standardisation=own)

    return replace(
        data,
        preprocessing={**data.preprocessing, **facts},
        train=standardised(data.train),
        validation=standardised(data.validation),
        test=standardised(data.test),
    )


def numbering_of(spec: JobSpec, names: Sequence[str]) -> Numbering | None:
    """Which output of the checkpoint's classifier stands for each class of the data; None where it has no classifier
    of its own, so that any order will do.

    Raises:
        DataError: they cannot be matched, and nothing is trained that could learn the data's own order.
    """
    found, takes = spec.supernet.found, spec.supernet.space().takes
    count = None if takes is None else getattr(takes, "classes", None)
    if found is None or not found.classifies or count is None:
        return None
    matched = numbering(spec.supernet.labels or found.labels, count, names)
    if matched.numbers is None and spec.training.epochs == 0:
        raise DataError(
            f"{matched.how} training.epochs is 0, so which output stands for which class would be a guess. Name the "
            "checkpoint's classes in the order of its outputs in supernet.labels, in the data's words, or train."
        )
    return matched


def _numbered(data: Dataset, spec: JobSpec, matched: Numbering) -> Dataset:
    """The data with the checkpoint's numbers of their classes."""
    if matched.numbers is None:
        return replace(data, notes=(*data.notes, f"{matched.how} Their own order is used, which the training learns."))
    found = spec.supernet.found
    assert found is not None
    takes = spec.supernet.space().takes
    names, count = data.preprocessing["labels"], getattr(takes, "classes", None)
    assert count is not None
    known = spec.supernet.labels or found.labels
    labels = list(known) if known is not None else [str(number) for number in range(count)]
    for name, number in zip(names, matched.numbers, strict=True):
        labels[number] = name
    numbers = torch.tensor(matched.numbers, dtype=torch.int64)

    def numbered(split: Split) -> Split:
        return replace(split, y=numbers.to(split.y.device)[split.y])

    return replace(
        data,
        preprocessing={**data.preprocessing, "labels": labels},
        train=numbered(data.train),
        validation=numbered(data.validation),
        test=numbered(data.test),
        num_classes=count,
    )
