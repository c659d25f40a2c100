"""The first stage: what can only fail for reasons that are known at the start fails here, within seconds.

Nothing is decoded, tokenized, trained or measured. What a checkpoint gives and lacks is said here once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from export.runtimes.onnxruntime.exactness import EXACTLY, exact_weight_bits
from job.fit import misfit
from job.paths import PathRefused, check_paths
from job.spec import JobSpec
from pipeline.materials import strange_vocabulary
from pipeline.own_data import numbering_of
from pipeline.reporter import Reporter
from pipeline.shipping import said_of_type
from pipeline.workshop import JobFailed
from predictors.targets import TargetName
from search_space import plugins
from search_space.checkpoint import CheckpointError
from search_space.inputs import Input, PairInput, TokenInput
from search_space.joined import read_checkpoints
from search_space.layers import DecoderLayerSpec, TransformerLayerSpec
from search_space.space import SearchSpace
from service.kernels import stated_bits
from service.store import measuring
from service.store.models import Stage
from supernet.blocks.decoder_layer import rotation
from supernet.blocks.transformer_layer import turns_of
from supernet.data import IN_MEMORY, DataError, load_dataset
from supernet.data.tokens import tokenizer
from supernet.slot import build_block
from supernet.weights import check_finite


class _Classes(Exception):
    """The names of the data's classes are known: nothing more is wanted."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)


def check(spec: JobSpec, space: SearchSpace, reporter: Reporter) -> None:
    """Fail for what is known now, and tell what a checkpoint gives.

    Raises:
        JobFailed: tokenizer, vocabulary, length, classes, configuration or weights cannot be used together, or the job
            names files that are not open to it.
    """
    reporter.stage(Stage.CHECK)
    try:
        check_paths(spec, whole=True)
        if spec.supernet.pretrained is not None:
            for level, text in said_of(spec):
                reporter.tell(level, text)
            if spec.supernet.reuse is None and not reporter.artifacts("supernet"):
                check_buildable(space)
                check_weights(spec)
        if (warning := said_of_weight_bits(spec, *_exact(spec.target, reporter))) is not None:
            reporter.tell("warning", warning)
        if (reason := misfit_of_text(spec, space)) is not None:
            raise JobFailed(reason)
        names = class_names(spec, space.takes)
        if names is not None and (matched := said_of_classes(spec, space, names)) is not None:
            reporter.tell("info", matched)
    except (DataError, CheckpointError, PathRefused) as error:
        raise JobFailed(str(error)) from error


def said_of(spec: JobSpec) -> list[tuple[str, str]]:
    """What people should know of a job's checkpoint: level and sentence."""
    supernet, found = spec.supernet, spec.supernet.found
    if found is None:
        return [
            (
                "warning",
                "This job was submitted before Winnow read a checkpoint's label names and preprocessing: they are "
                "not used. Submit it anew to use them.",
            )
        ]
    said = [("warning", note) for note in found.notes]
    if found.fresh:
        said.append(
            ("warning", f"The checkpoint lacks {_listed(found.fresh)}: fresh values, which training must fill.")
        )
    if found.dropped:
        said.append(("info", f"Not used of the checkpoint: {_listed(found.dropped)}."))
    if not found.fresh and not found.dropped:
        said.append(("info", "Every tensor of the checkpoint is used, and none starts fresh."))
    if (text := said_of_type(spec)) is not None:
        said.append(("info", text))
    if found.preprocessing is not None:
        given = found.preprocessing.made()
        mean, std = (", ".join(f"{number:.4g}" for number in numbers) for numbers in (given.mean, given.std))
        said.append(
            (
                "info",
                f"Images are prepared as the checkpoint's own were: {given}; pixels times {given.scale:.6g}, mean "
                f"{mean}, deviation {std}.",
            )
        )
    if getattr(spec.data, "tokenizer", "") is None:
        said.append(
            (
                "warning",
                f"{' or '.join(supernet.folders)} has no tokenizer, and data.tokenizer names none: text is read as "
                "bytes.",
            )
        )
    return said


def _exact(target: str | None, reporter: Reporter) -> tuple[int, str]:
    """Bits that kernels multiply exactly where the job's networks are measured, and where that is."""
    named = TargetName.parse(target).registered if target else None
    row = None if named is None else reporter.transact(lambda session: measuring.target(session, named))
    if row is None or row.kind != "machine":
        return exact_weight_bits(), "this machine"
    return stated_bits(row), row.name


def said_of_weight_bits(spec: JobSpec, exact: int, where: str) -> str | None:
    """That weights of 8 bits are wrong where this job's networks are measured; None: they are not.

    Args:
        exact: bits that kernels there multiply exactly.
        where: the machine, in words.
    """
    if spec.quantization is None or spec.quantization.weight_bits != 8 or exact == 8:
        return None
    return (
        f"quantization.weight_bits is 8, and kernels of ONNX Runtime on {where} are not known to be exact for them: "
        "without VNNI they saturate. Networks are scored, and files checked, as a processor with VNNI computes them; "
        f'on {where} the files need the session option {EXACTLY} = "1". Submit the job with weight_bits 7 for '
        "processors like that one."
    )


def _listed(names: Sequence[str]) -> str:
    some = ", ".join(names[:8])
    return some if len(names) <= 8 else f"{some}, ... ({len(names)} in all)"


def check_buildable(space: SearchSpace) -> None:
    """Build every different layer of the full network without memory, so that what transformers refuses is said now.

    Raises:
        CheckpointError: the configuration cannot be built.
    """
    for layer in set(space.capacity().values()):
        try:
            with torch.device("meta"):
                build_block(layer)
            if isinstance(layer, DecoderLayerSpec):
                rotation(layer.config, 2, torch.device("cpu"), torch.float32)
            if isinstance(layer, TransformerLayerSpec) and layer.facts.rotary:
                turns_of(layer.facts.rotary, 2, torch.device("cpu"), torch.float32)
        except Exception as error:  # transformers' configuration classes raise kinds of their own
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"No network can be built from the checkpoint's config.json: {type(error).__name__}: {reason}"
            ) from error


def check_weights(spec: JobSpec) -> None:
    """Look at every value that will be loaded.

    Raises:
        CheckpointError: the folder is gone or has changed, or a tensor holds NaN or infinity.
    """
    assert spec.supernet.pretrained is not None
    checkpoint = read_checkpoints(spec.supernet.pretrained)
    if spec.supernet.checkpoint is not None and checkpoint.config != spec.supernet.checkpoint:
        raise CheckpointError(
            f"{' or '.join(spec.supernet.folders)} has another config.json than when the job was submitted; submit the "
            "job anew."
        )
    check_finite(checkpoint, plugins.check_checkpoint(spec.supernet.family, checkpoint, spec.supernet.classes))


def misfit_of_text(spec: JobSpec, space: SearchSpace) -> str | None:
    """Why the job's length or tokenizer does not fit its networks; None if they do, or it has none.

    Raises:
        DataError: the tokenizer cannot be loaded.
    """
    takes, length = space.takes, getattr(spec.data, "length", None)
    if not isinstance(takes, TokenInput | PairInput) or length is None or not hasattr(spec.data, "tokenizer"):
        return None
    reader = tokenizer(spec.data.tokenizer)
    if isinstance(takes, PairInput):
        # Whether every text ends as it must, and which classes there are, is known once they are read.
        size = (takes.channels, takes.size, reader.vocab, length, length)
        gives = PairInput(*size, end=reader.ends, classes=takes.classes)
        return misfit(space, spec.data.source, gives) or strange_vocabulary(spec, space, reader.name, reader.vocab)
    if reader.vocab > takes.vocab or length > takes.max_length:
        # Classes are looked at once they are known.
        return misfit(space, spec.data.source, TokenInput(reader.vocab, length, length, takes.classes))
    return strange_vocabulary(spec, space, reader.name, reader.vocab)


def class_names(spec: JobSpec, takes: Input | None) -> tuple[str, ...] | None:
    """Names of the data's classes as soon as the source knows them; None where it has none, or needs no look.

    Raises:
        DataError: the data cannot be used.
    """
    answers = getattr(takes, "classes", None) or getattr(takes, "features", None)
    if answers is None or not spec.data.tells_classes:
        return None

    def known(names: Sequence[str]) -> None:
        raise _Classes(names)

    try:
        load_dataset(spec.data.source, spec.training.seed, spec.data, replace(IN_MEMORY, classes=known))
    except _Classes as found:
        return found.names
    return None


def said_of_classes(spec: JobSpec, space: SearchSpace, names: Sequence[str]) -> str | None:
    """How the data's classes are matched with a checkpoint's; None where they are the networks' as they stand.

    Raises:
        JobFailed: there are more or fewer, and they cannot be told by their names.
        DataError: they cannot be matched, and nothing is trained.
    """
    count = getattr(space.takes, "classes", None)
    found = spec.supernet.found
    matched = numbering_of(spec, names) if len(names) == count or (found and found.labels) else None
    if matched is not None and matched.numbers is not None:
        return matched.how
    if count is None:
        raise JobFailed(
            f"{space.name} gives features and no classes: set supernet.classes to {len(names)}, and its networks "
            "get a classifier."
        )
    if len(names) != count:
        listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise JobFailed(
            f"{space.name} has {count} classes, but data source {spec.data.source!r} gives {len(names)} "
            f"({listed}): set supernet.classes to {len(names)}."
        )
    return None
