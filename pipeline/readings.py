"""What a job's data are, as a record and in words."""

from __future__ import annotations

import hashlib
import json

import torch

from job.spec import JobSpec
from pipeline import samples
from service.store.records import DataRead, LeftOutRows, SplitRead
from supernet.data import Dataset, Split
from supernet.data.folders import HIDDEN
from supernet.data.pictures import BROKEN
from supernet.data.reading import BEYOND_LIMIT


def read_of(spec: JobSpec, data: Dataset) -> DataRead:
    """The record of data that were just read."""
    reading, facts = data.reading, data.preprocessing
    classes = tuple(facts.get("labels", ()))
    standardisation = data.train.standardisation
    return DataRead(
        source=spec.data.source,
        origin=data.origin,
        fingerprint=_fingerprint(data),
        unit=None if reading is None else reading.unit,
        seen=None if reading is None else reading.seen,
        used=None if reading is None else reading.used,
        left_out=()
        if reading is None
        else tuple(LeftOutRows(why=one.why, count=one.count, some=one.some) for one in reading.left_out),
        columns={} if reading is None else dict(reading.columns),
        num_classes=data.num_classes,
        classes=classes,
        splits={
            name: SplitRead(
                samples=len(split),
                source=None if reading is None else reading.splits.get(name),
                classes=_per_class(split, len(classes)),
            )
            for name, split in data.splits.items()
        },
        mean=() if standardisation is None else standardisation.mean,
        std=() if standardisation is None else standardisation.std,
        preprocessing=_in_words(data),
        remarks=() if reading is None else reading.remarks,
    )


def said_of_data(data: Dataset) -> list[tuple[str, str]]:
    """What people should know of data that were read: level and sentence."""
    said = [("warning", note) for note in data.notes]
    reading = data.reading
    if reading is None:
        return said
    # What cannot be decoded is in the notes, hidden files and a limit are meant.
    told = [one for one in reading.left_out if one.why not in (HIDDEN, BEYOND_LIMIT) and one.why != BROKEN]
    if told:
        count = sum(one.count for one in told)
        listed = "; ".join(map(str, told))
        said.append(("warning", f"{count:,} of {reading.seen:,} {reading.unit} are left out: {listed}."))
    return said + [("info", remark) for remark in reading.remarks if remark not in data.notes]


def _fingerprint(data: Dataset) -> str:
    """A digest of what tells data apart."""
    facts = samples.described(data)
    # Of images that lie in a file only the sums are known; the same set has the same name wherever it lies.
    digests = {name: found.get("sums", found.get("bytes")) for name, found in facts["fingerprint"].items()}
    named = json.dumps([facts["counts"], facts["preprocessing"], digests], sort_keys=True)
    return hashlib.sha256(named.encode("utf-8", "backslashreplace")).hexdigest()


def _per_class(split: Split, count: int) -> tuple[int, ...]:
    if count == 0 or split.is_language:
        return ()
    return tuple(torch.bincount(split.y.long(), minlength=count).tolist())


def _in_words(data: Dataset) -> str:
    facts = data.preprocessing
    resized = [str(facts["resize"])] if "resize" in facts else []
    documents = [f"every document {facts['documents']}"] if "documents" in facts else []
    template = [str(facts["template"])] if "template" in facts else []
    return "; ".join([*resized, *documents, *template, str(facts["formula"])])
