"""What a job's data are, as a record and in words."""

from __future__ import annotations

import hashlib
import json

import torch

from job.spec import JobSpec
from pipeline import samples
from search.enough import too_few
from service.store.records import DataRead, LeftOutRows, SplitRead
from supernet.data import Dataset, Split
from supernet.data.folders import HIDDEN
from supernet.data.inventory import BEYOND_LIMIT, Inventory
from supernet.data.on_disk import ImagesOnDisk
from supernet.data.pictures import BROKEN

# Bytes of a split in memory whose samples are compared one by one.
MOST_BYTES = 2**32


def read_of(spec: JobSpec, data: Dataset, described: samples.Description | None = None) -> DataRead:
    """The record of data that have been read.

    Args:
        described: what `samples.described` says of them, where that is known.
    """
    inventory, facts = data.inventory, data.preprocessing
    classes = tuple(facts.get("labels", ()))
    standardisation = data.train.standardisation
    return DataRead(
        source=spec.data.source,
        origin=data.origin,
        fingerprint=_fingerprint(described or samples.described(data)),
        unit=None if inventory is None else inventory.unit,
        seen=None if inventory is None else inventory.seen,
        used=None if inventory is None else inventory.used,
        left_out=()
        if inventory is None
        else tuple(LeftOutRows(why=one.why, count=one.count, some=one.some) for one in inventory.left_out),
        columns={} if inventory is None else dict(inventory.columns),
        num_classes=data.num_classes,
        classes=classes,
        splits={
            name: SplitRead(
                samples=len(split),
                source=None if inventory is None else inventory.splits.get(name),
                classes=_per_class(split, len(classes)),
            )
            for name, split in data.splits.items()
        },
        mean=() if standardisation is None else standardisation.mean,
        std=() if standardisation is None else standardisation.std,
        preprocessing=_in_words(data),
        remarks=(*(() if inventory is None else inventory.remarks), *copies(data), *few(spec, data)),
    )


def said_of_data(data: Dataset, record: DataRead) -> list[tuple[str, str]]:
    """What people should know of data that were read: level and sentence."""
    said = [("warning", note) for note in data.notes]
    inventory = data.inventory or Inventory("samples", 0)
    # What cannot be decoded is in the notes, hidden files and a limit are meant.
    told = [one for one in inventory.left_out if one.why not in (HIDDEN, BEYOND_LIMIT) and one.why != BROKEN]
    if told:
        count = sum(one.count for one in told)
        listed = "; ".join(map(str, told))
        said.append(("warning", f"{count:,} of {inventory.seen:,} {inventory.unit} are left out: {listed}."))
    return said + [
        ("info" if remark in inventory.remarks else "warning", remark)
        for remark in record.remarks
        if remark not in data.notes
    ]


def copies(data: Dataset) -> tuple[str, ...]:
    """What to say of samples of validation and test that are learned from, too."""
    # Blocks of a text repeat themselves, and pairs are told apart by both halves.
    if data.train.texts is not None or (data.train.is_language and not data.train.partial):
        return ()
    keys = {name: _keys(split) for name, split in data.splits.items()}
    if any(found is None for found in keys.values()):
        return ()
    trained = set(keys["train"] or ())
    counts = {name: sum(key in trained for key in keys[name] or ()) for name in ("validation", "test")}
    return tuple(
        f"{count:,} of {len(data.splits[name]):,} {name} samples are the same as training samples, as networks see "
        "them: they say nothing about new data."
        for name, count in counts.items()
        if count
    )


def few(spec: JobSpec, data: Dataset) -> tuple[str, ...]:
    """What to say where too few validation samples choose among the networks (see `search.enough`)."""
    split = data.validation
    counts = [len(split)] if not split.is_pairs else [len(split), len(split.stored)]
    asked = [one.metric for one in spec.objectives]
    return tuple(said for said in (too_few(metric, counts) for metric in asked) if said is not None)[:1]


def _keys(split: Split) -> list[bytes] | None:
    """What tells samples apart; None where that takes too long.

    For images in a file these are the sums of their pixels and squares, for anything in memory all bytes.
    """
    if isinstance(split.stored, ImagesOnDisk):
        return [row.tobytes() for row in split.stored.moments[split.stored.rows]]
    if split.stored.nbytes > MOST_BYTES:
        return None
    rows = split.stored.cpu().contiguous().numpy()
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]


def _fingerprint(facts: samples.Description) -> str:
    """A digest of what tells data apart."""
    # Of images that lie in a file only the sums are known; the same set has the same name wherever it lies.
    digests = {name: found.get("sums", found.get("bytes")) for name, found in facts["fingerprint"].items()}
    named = json.dumps([facts["counts"], facts["preprocessing"], digests], sort_keys=True)
    return hashlib.sha256(named.encode("utf-8", "backslashreplace")).hexdigest()


def _per_class(split: Split, count: int) -> tuple[int, ...]:
    if count == 0 or split.is_language or split.is_pairs:
        return ()
    return tuple(torch.bincount(split.y.long(), minlength=count).tolist())


def _in_words(data: Dataset) -> str:
    facts = data.preprocessing
    resized = [str(facts["resize"])] if "resize" in facts else []
    documents = [f"every document {facts['documents']}"] if "documents" in facts else []
    template = [str(facts["template"])] if "template" in facts else []
    return "; ".join([*resized, *documents, *template, str(facts["formula"])])
