"""What is kept of a job's data beside its supernet: an export needs no data set, and other data are noticed.

One file per job, tensors and JSON: the training examples that networks are calibrated on, in their order; samples of
the validation and test splits, on which a file is verified; standardisation, label names, a fingerprint of all data.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor

from job.spec import JobSpec
from pipeline.artifacts import ArtifactDamaged, ArtifactStore
from pipeline.checkpoints import JobFiles
from pipeline.reporter import Reporter
from pipeline.workshop import Calibrated, images_of
from quantization.quantized_evaluator import activation_examples
from search_space.space import SearchSpace
from service.store.models import Artifact
from supernet.calibrate import norms_of
from supernet.data import Dataset, Split, Standardisation
from supernet.data.dataset import IGNORED
from supernet.data.on_disk import ImagesOnDisk
from supernet.evaluator import calibration_examples
from supernet.network import build_network
from supernet.randomness import derived_rng

KIND = "samples"
# In version 1 networks were calibrated on images as they are, and on fewer of them when they were delivered.
FORMAT, PLAINLY = "winnow-samples/2", "winnow-samples/1"
# Samples of a split on which a file is verified: at most so many, of so many bytes, with logits of so many bytes.
MOST, MOST_BYTES, MOST_LOGITS = 2048, 64 * 2**20, 2**29
# Fewer say nothing.
LEAST = 8
# Images whose bytes are looked at together.
AT_ONCE = 1024


class Description(TypedDict):
    """What tells data apart: numbers of samples, preprocessing with label names, and digests of every split."""

    counts: dict[str, int]
    preprocessing: dict[str, Any]
    fingerprint: dict[str, dict[str, str]]


class Packing(TypedDict):
    """What a job's tensors are of. Files of older versions have no `cropped`."""

    format: str
    name: str
    origin: str
    num_classes: int
    standardisation: dict[str, Any] | None
    cropped: NotRequired[list[str]]


class Facts(Packing, Description):
    """What a job's file says of its data: in `differs`, how they differ from those of the supernet, in words."""

    differs: list[str]


@dataclass(frozen=True, slots=True)
class Kept:
    """A job's data as far as exports need them.

    Attributes:
        data: its training split holds the examples for calibration, the others the samples for verification.
        counts: samples of the whole splits, by name.
        calibrated: on what networks are calibrated.
        told: how the data differ from those that the supernet was trained on.
    """

    data: Dataset
    counts: dict[str, int]
    calibrated: Calibrated
    told: tuple[str, ...] = ()


def keep(
    spec: JobSpec, space: SearchSpace, data: Dataset, now: Description, files: JobFiles, reporter: Reporter
) -> None:
    """Keep what exports need of the data, once per job; say how they differ from what the supernet was trained on.

    Args:
        now: what tells these data apart.

    Raises:
        DiskFull: there is no room.
    """
    own, reused = files.recorded(KIND), spec.supernet.reuse
    told: list[str] = []
    current = bool(own)
    for file in own or ([] if reused is None else reporter.artifacts_of(reused, KIND)):
        try:
            facts = facts_of(files.store, file)
            current = bool(own) and facts["format"] == FORMAT
            told = differences(facts, now)
        except ArtifactDamaged as error:
            told = [f"what was kept of them cannot be read ({error})"]
        break
    if told:
        whose = "this job began with" if own else f"supernet {reused} was trained on"
        reporter.tell("warning", f"The data are not those that {whose}: {'; '.join(told)}.")
    if current:
        return
    tensors, packing = packed(spec, space, data)
    path = f"supernets/{files.job_id}.{KIND}.safetensors"
    files.save(KIND, path, tensors, 0, {"winnow": json.dumps({**packing, **now, "differs": told})})


class OtherData(Exception):
    """A worker that would help has other data than the job, so what it would do is no help; the message says how they
    differ."""


def check_same(artifacts: ArtifactStore, file: Artifact | None, data: Dataset) -> None:
    """Refuse the data of a worker that would help where they are not those of the job.

    Raises:
        OtherData: they differ.
    """
    if file is None:
        return
    try:
        told = differences(facts_of(artifacts, file), described(data))
    except ArtifactDamaged as error:
        told = [f"what was kept of them cannot be read ({error})"]
    if told:
        raise OtherData(f"its data are not those of the job ({'; '.join(told)}).")


def packed(spec: JobSpec, space: SearchSpace, data: Dataset) -> tuple[dict[str, Tensor], Packing]:
    """Tensors and facts to keep."""
    parts: dict[str, Split] = {}
    if _has_norms(space):
        parts["calibration"] = calibration_examples(
            data, images_of(spec, delivered=True), spec.training.seed, spec.training.augmentation
        )
    if spec.quantization is not None:
        count = spec.quantization.calibration_examples
        parts["activations"] = activation_examples(data, count, spec.training.seed)
    for name in ("validation", "test"):
        split = data.splits[name]
        parts[name] = split.take(_chosen(split, data.num_classes, spec.training.seed).to(split.y.device))
    tensors: dict[str, Tensor] = {}
    for name, split in parts.items():
        stored = split.stored[slice(None)] if isinstance(split.stored, ImagesOnDisk) else split.stored
        held = {"stored": stored, "y": split.y, "lengths": split.lengths, "texts": split.texts, "rows": split.rows}
        tensors |= {f"{name}.{part}": tensor for part, tensor in held.items() if tensor is not None}
    standardisation = data.train.standardisation
    return tensors, {
        "format": FORMAT,
        "name": data.name,
        "origin": data.origin,
        "num_classes": data.num_classes,
        "standardisation": None if standardisation is None else asdict(standardisation),
        "cropped": [name for name, split in parts.items() if split.cropped],
    }


def read(artifacts: ArtifactStore, file: Artifact) -> Kept:
    """What a job kept.

    Raises:
        ArtifactDamaged: the file is not what was written.
    """
    tensors = artifacts.load(file.path, file.sha256)
    facts = facts_of(artifacts, file)
    given = facts["standardisation"]
    standardisation = None
    if given is not None:
        standardisation = Standardisation(tuple(given["mean"]), tuple(given["std"]), given["full_scale"])

    def part(name: str) -> Split | None:
        if f"{name}.stored" not in tensors:
            return None
        lengths = tensors.get(f"{name}.lengths")
        y = tensors[f"{name}.y"]
        partial = y.dim() == 2 and bool((y == IGNORED).any())
        cropped = name in facts.get("cropped", [])
        stored, texts, rows = (tensors.get(f"{name}.{part}") for part in ("stored", "texts", "rows"))
        assert stored is not None
        return Split(stored, y, standardisation, lengths, partial=partial, cropped=cropped, texts=texts, rows=rows)

    validation, test, calibration, activations = map(part, ("validation", "test", "calibration", "activations"))
    assert validation is not None
    assert test is not None
    # Nothing trains here; a network without batch norms asks for no calibration.
    nothing = test.take(torch.arange(0))
    train = next((split for split in (calibration, activations) if split is not None), nothing)
    data = Dataset(
        facts["name"], facts["origin"], facts["preprocessing"], train, validation, test, facts["num_classes"]
    )
    calibrated = Calibrated(calibration or nothing, activations, plainly=facts["format"] == PLAINLY)
    return Kept(data, facts["counts"], calibrated, tuple(facts["differs"]))


def sampled(data: Dataset, seed: int) -> Kept:
    """The same of data that were read anew, for a job that kept nothing: an older version ran it."""
    chosen = {
        name: split.take(_chosen(split, data.num_classes, seed).to(split.y.device))
        for name, split in data.splits.items()
        if name != "train"
    }
    return Kept(
        replace(data, validation=chosen["validation"], test=chosen["test"]),
        {name: len(split) for name, split in data.splits.items()},
        Calibrated(None, None, plainly=True),
    )


def facts_of(artifacts: ArtifactStore, file: Artifact) -> Facts:
    """What a job's file says of its data in words and numbers.

    Raises:
        ArtifactDamaged: it is gone.
    """
    facts: Facts = json.loads(artifacts.metadata(file.path, file.sha256)["winnow"])
    return facts


# --- the same data? ------------------------------------------------------------------------------


def described(data: Dataset) -> Description:
    """What tells data apart."""
    digests = {name: fingerprint(split) for name, split in data.splits.items()}
    counts = {name: len(split) for name, split in data.splits.items()}
    return {"counts": counts, "preprocessing": data.preprocessing, "fingerprint": digests}


def differences(then: Description, now: Description) -> list[str]:
    """How data differ from those that were described before, in words; empty for the same."""
    told = [
        f"{name} has {now['counts'][name]:,} samples and had {count:,}"
        for name, count in then["counts"].items()
        if now["counts"][name] != count
    ]
    mine, theirs = ({**side["preprocessing"]} for side in (now, then))
    for fact in sorted({*mine, *theirs}):
        if _plain(mine.get(fact)) != _plain(theirs.get(fact)):
            told.append(f"{fact} is {_short(mine.get(fact))} and was {_short(theirs.get(fact))}")
    for name, digests in then["fingerprint"].items():
        same = all(now["fingerprint"][name].get(kind, digest) == digest for kind, digest in digests.items())
        if not same and now["counts"][name] == then["counts"][name]:
            told.append(f"samples of {name} are others")
    return told


def fingerprint(split: Split) -> dict[str, str]:
    """Digests of a split: of its bytes and labels; of images that lie in a file, of the sums over each and its labels.

    Images have the second kind in memory, too, so that the same set is known again wherever it lies.
    """
    labels = hashlib.sha256(_bytes(split.y))
    for beside in (split.lengths, split.texts):
        if beside is not None:
            labels.update(_bytes(beside))
    found = {}
    if not isinstance(split.stored, ImagesOnDisk):
        digest = labels.copy()
        for start in range(0, len(split.stored), AT_ONCE):
            digest.update(_bytes(split.stored[start : start + AT_ONCE]))
        found["bytes"] = digest.hexdigest()
    if split.stored.dim() == 4:
        labels.update(_sums(split.stored).tobytes())
        found["sums"] = labels.hexdigest()
    return found


def _sums(images: Tensor | ImagesOnDisk) -> np.ndarray:
    """Per image and channel the sum of its pixels and of their squares, (N, C, 2), int64."""
    if isinstance(images, ImagesOnDisk):
        return np.asarray(images.moments[images.rows])
    if images.is_floating_point():
        return np.zeros(0)
    parts = []
    for start in range(0, len(images), AT_ONCE):
        pixels = images[start : start + AT_ONCE].cpu().numpy()
        squares = np.square(pixels, dtype=np.uint16).sum((2, 3), dtype=np.int64)
        parts.append(np.stack([pixels.sum((2, 3), dtype=np.int64), squares], axis=2))
    return np.concatenate(parts) if parts else np.zeros(0)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().cpu().numpy().tobytes()


def _chosen(split: Split, classes: int, seed: int) -> Tensor:
    """Positions of the samples to keep of a split, ascending; the same for the same seed."""
    most = MOST
    if len(split) > 0:
        one = math.prod(split.stored.shape[1:]) * (1 if split.stored.dim() == 4 else 8)
        if split.is_pairs:
            # Vectors of a few hundred numbers, and as many images as texts.
            return _of_pairs(split, max(LEAST, min(MOST, MOST_BYTES // max(1, one))), seed)
        logits = 4 * classes * (split.stored.shape[1] if split.is_language else 1)
        most = max(LEAST, min(MOST, MOST_BYTES // max(1, one), MOST_LOGITS // logits))
    if len(split) <= most:
        return torch.arange(len(split))
    drawn = derived_rng(seed, "verification", 0).permutation(len(split))[:most]
    return torch.from_numpy(np.sort(drawn))


def _of_pairs(split: Split, most: int, seed: int) -> Tensor:
    """Positions of the pairs to keep: images drawn with all of their texts, as a search among them needs."""
    assert split.rows is not None
    if len(split) <= most:
        return torch.arange(len(split))
    each = len(split) / len(split.stored)
    drawn = derived_rng(seed, "verification", 0).permutation(len(split.stored))[: max(2, int(most / each))]
    return torch.isin(split.rows.cpu(), torch.from_numpy(drawn)).nonzero()[:, 0]


def _has_norms(space: SearchSpace) -> bool:
    """Whether a space's networks have running statistics of their own."""
    with torch.device("meta"):
        network = build_network(space.layers(space.largest()))
    return any(norms_of(block) for block in network.children())


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(value))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
