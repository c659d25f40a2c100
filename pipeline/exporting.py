"""Exports: from a stored supernet to verified files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from export.bundle import Bundle, BundleContents, write_bundle
from export.contents import Member, Shared
from export.formats.safetensors.format import needs
from export.runtimes.onnxruntime.exactness import EXACTLY
from export.scores import Promise
from job.spec import JobSpec
from job.versions import read_job
from pipeline import samples
from pipeline.artifacts import ArtifactDamaged, ArtifactStore
from pipeline.card_header import card_header, cited, licence_of
from pipeline.check import said_of
from pipeline.environment import Environment, describe
from pipeline.own_data import companion_files, job_data, without_tokenizer
from pipeline.samples import Kept
from pipeline.shipping import float_type, scored_as, shipped
from pipeline.workshop import make_evaluator
from search.metrics import METRICS, Source
from search_space.architecture import Architecture
from search_space.operations import alone
from service.archives import folder_name
from service.fronts import Compared
from service.plain import visible
from service.store.models import Artifact, EvaluationRow, Finalist, Job, Weights
from service.store.records import HealedNetwork, SharingCost
from supernet.data import Dataset, Decoding, Split
from supernet.evaluate import score
from supernet.evaluator import Evaluator
from supernet.flat import load_tensors
from supernet.network import Supernet

T = TypeVar("T")
# The format that is of a whole front.
SHARED = "supernet"
FROM_SOURCE = (
    "The job kept no samples of its data: an older version ran it. Data, standardisation and label names were read"
    " again from their source for this export."
)


class CannotExport(ValueError):
    """The network cannot be exported; the message is for the user."""


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """Everything an export needs from the database.

    Attributes:
        samples: what the job kept of its data; None: an older version ran it, and the data are read again.
        formats: names of the formats that were asked for; empty: none was.
        reference: what the job's networks are compared with; None: an older version ran it.
        front: the evaluations and finalists of the front, where a format wants all of it.
        sharing: what is known of how good the supernet's networks are beside the same ones trained alone.
        healed: what healing made of the network; None: it was not healed.
        ships: which of its weights these are.
    """

    job: Job
    evaluation: EvaluationRow
    finalist: Finalist | None
    front_size: int
    weights: Artifact
    samples: Artifact | None
    formats: tuple[str, ...] = ()
    reference: Compared | None = None
    sharing: tuple[SharingCost, ...] = ()
    healed: HealedNetwork | None = None
    ships: Weights = Weights.UNHEALED
    front: tuple[tuple[EvaluationRow, Finalist], ...] = ()

    @property
    def trained_alone(self) -> bool:
        """Whether the weights are the network's own, and not a supernet's."""
        return self.weights.kind in ("network", "healed")


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What a card says a network scores, how it was obtained, and on what files are verified.

    Attributes:
        notes: what a reader should know of the data.
    """

    metrics: dict[str, float | None]
    sources: dict[str, Source]
    promise: Promise | None
    verified_on: Split
    notes: list[str]


def make_export(order: ExportOrder, artifacts: ArtifactStore, num_threads: int, decoding: Decoding) -> Bundle:
    """Extract, calibrate, write, reload, compare and pack one architecture.

    Raises:
        CannotWrite: there is no room on the disk, or a format cannot hold the network after all.
        VerificationError: what was written does not behave like the network, or not as the front says.
        CannotExport: the job's space has changed, its front has no number of the network, or the file of the supernet
            or of the kept samples is gone, or is not what was written.
        DataError: the job kept no samples, and its data cannot be read any more.
    """
    spec = read_job(order.job.spec)
    space = spec.space()
    try:
        architecture = space.architecture(**order.evaluation.values)
    except ValueError as error:
        raise CannotExport(f"The space of this job has changed since this network was evaluated. {error}") from error
    kept, weights = _kept(order, spec, artifacts, decoding), order.weights
    supernet = Supernet(alone(space, architecture) if order.trained_alone else spec.supernet.space())
    load_tensors(supernet, _whole(order, spec, weights, lambda: artifacts.load(weights.path, weights.sha256)))
    evaluator = _scored(order, spec, kept, supernet)
    scored = evaluator.network(architecture, shares=True)
    numbers, network = _numbers(order, kept, scored_as(scored, spec)), shipped(scored, spec)
    environment = describe(torch.device("cpu"), num_threads)
    facts: dict[str, Any] = {
        "format": "winnow-architecture/1",
        "job_id": order.job.id,
        "architecture_id": architecture.id,
        "space": space.name,
        "values": architecture.values,
        "metrics": numbers.metrics,
        "sources": numbers.sources,
        "preprocessing": _prepared(spec, kept.data),
        "dtype": str(float_type(spec)).removeprefix("torch."),
    }
    if order.healed is not None:
        facts["weights"], facts["healing"] = order.ships, order.healed.data()
    needed = needs([type(block) for block in network.children()])
    normed = any(isinstance(module, nn.BatchNorm2d) for module in scored.modules())
    card = _card(order, spec, architecture, numbers, environment, kept, needed, normed=normed)
    if (licence := licence_of(spec)) is not None:
        facts["licence"] = licence
    if order.formats:
        facts["checkpoint"] = spec.supernet.checkpoint
    card = card_header(spec, kept.data, order.formats) + card
    layers = space.layers(architecture)
    shared = None
    if SHARED in order.formats:
        exported = Member(architecture.id, layers, numbers.metrics, architecture.values, lambda: network)
        shared = _shared(order, spec, evaluator, supernet, exported)
    subject = BundleContents(network, layers, facts, card, companion_files(spec), order.formats, shared)
    # Named by job and network, inside the archive too: unpacked beside each other, none overwrites another.
    name = folder_name(order.job.id, architecture.id, order.formats, order.ships)
    folder = artifacts.root / "exports" / order.job.id / name
    asked, everything = numbers.verified_on, slice(None)
    return write_bundle(subject, asked.inputs(everything), asked.y, folder, numbers.promise)


def _shared(order: ExportOrder, spec: JobSpec, evaluator: Evaluator, supernet: Supernet, exported: Member) -> Shared:
    """The supernet with the networks of the front; the exported one is among them, be it on the front or not."""
    others = [
        Member(
            architecture.id,
            supernet.space.layers(architecture),
            {**row.metrics, **finalist.metrics},
            architecture.values,
            partial(_member, evaluator, architecture, spec),
        )
        for row, finalist in order.front
        if (architecture := supernet.space.architecture(**row.values)).id != exported.id
    ]
    tensors = {
        f"{slot}.{name}": parameter
        for slot in supernet.slots
        for name, parameter in supernet.slot(slot).block.named_parameters()
    }
    blocks = [supernet.slot(slot).block for slot in supernet.slots]
    goals = {objective.metric: METRICS[objective.metric].goal for objective in spec.objectives}
    return Shared(_each_once(tensors), blocks, (exported, *others), goals, exported.id)


def _member(evaluator: Evaluator, architecture: Architecture, spec: JobSpec) -> nn.Module:
    return shipped(evaluator.network(architecture), spec)


def _each_once(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the second names of those that are tied."""
    first = {id(tensor): name for name, tensor in reversed(list(tensors.items()))}
    return {name: tensor for name, tensor in tensors.items() if first[id(tensor)] == name}


def _prepared(spec: JobSpec, data: Dataset) -> dict[str, Any]:
    """How an input is prepared; of images also what a checkpoint's own processor did to them."""
    found = spec.supernet.found
    white = None if data.train.standardisation is None else data.train.standardisation.full_scale
    facts: dict[str, Any] = dict(data.preprocessing)
    if white is not None:
        facts["full_scale"] = white
        if found is not None and found.preprocessing is not None:
            facts["fit"] = found.preprocessing.model_dump(include={"edge", "keeps_ratio", "resample", "crop"})
    return facts


def _kept(order: ExportOrder, spec: JobSpec, artifacts: ArtifactStore, decoding: Decoding) -> Kept:
    """What the job kept of its data, or the data read again."""
    if (file := order.samples) is not None:
        return _whole(order, spec, file, lambda: samples.read(artifacts, file))
    return samples.sampled(job_data(spec, decoding), spec.training.seed)


# Split -> what it is for.
USES = {"train": "training", "validation": "the search", "test": "tests"}
# Kind of a stored file -> what it is to people.
STORED = {
    "supernet": "supernet",
    "network": "trained network",
    "healed": "healed network",
    samples.KIND: "kept samples",
}


def _whole(order: ExportOrder, spec: JobSpec, file: Artifact, read: Callable[[], T]) -> T:
    """What a stored file of the job holds.

    Raises:
        CannotExport: it is gone, or is not what was written; with what can be done.
    """
    try:
        return read()
    except ArtifactDamaged as error:
        trained = spec.supernet.reuse if file.kind == "supernet" and spec.supernet.reuse else order.job.id
        raise CannotExport(
            f"The {STORED[file.kind]} of job {order.job.id} cannot be read: {error} Bring the file back from a backup "
            f"of the artifacts and export again, or have it made anew: winnow clone {trained}."
        ) from error


def _scored(order: ExportOrder, spec: JobSpec, kept: Kept, supernet: Supernet) -> Evaluator:
    """What gives the network as the front scored it; one that is no finalist, as the search did."""
    if order.trained_alone and spec.gradient is not None:
        training = spec.gradient.final.model_copy(update={"seed": spec.training.seed})
        spec = spec.model_copy(update={"training": training})
    delivered = order.finalist is not None or order.trained_alone
    return make_evaluator(spec, supernet, kept.data, calibrated=kept.calibrated, delivered=delivered)


def _numbers(order: ExportOrder, kept: Kept, network: nn.Module) -> _Numbers:
    """The front's numbers of a network; of one that is no finalist also its score on the test samples.

    Files are verified on the samples that the front's number is of: test data of a finalist, else validation data.
    """
    metric = kept.data.metric
    metrics: dict[str, float | None] = dict(order.evaluation.metrics)
    sources: dict[str, Source] = dict(order.evaluation.sources)
    if order.finalist is not None:
        metrics, sources = metrics | order.finalist.metrics, sources | order.finalist.sources
    if order.ships == Weights.HEALED and order.healed is not None:
        metrics = dict(order.healed.after or {})
        sources = {name: sources.get(name, Source.MEASURED) for name in metrics}
    notes = [FROM_SOURCE] if order.samples is None else []
    if kept.told:
        notes.append(f"The data differ from those that the supernet was trained on: {'; '.join(kept.told)}.")
    on_test = f"test_{metric}"
    split, name = ("test", on_test) if on_test in metrics else ("validation", metric)
    promised = metrics.get(name)
    if promised is None or not math.isfinite(promised):
        raise CannotExport(
            f"The job has no {name} of network {order.evaluation.architecture_id}: its score is no number, so nothing "
            "can be said of its files. Export another network."
        )
    if on_test not in metrics:
        metrics[on_test], sources[on_test] = score(network, kept.data.test), Source.MEASURED
        if len(kept.data.test) < kept.counts["test"]:
            notes.append(f"`{on_test}` is on {len(kept.data.test):,} of {kept.counts['test']:,} test samples.")
    asked = kept.data.splits[split]
    promise: Promise | None = Promise(name, float(promised), kept.counts[split])
    if asked.is_pairs and len(asked) < kept.counts[split]:
        # Among fewer images and texts each is found sooner.
        promise = None
        notes.append(
            f"Files are verified on {len(asked):,} of {kept.counts[split]:,} pairs; recall among fewer is another "
            "number."
        )
    return _Numbers(metrics, sources, promise, asked, notes)


def _healing(order: ExportOrder) -> list[str]:
    """What healing made of the network, and which of its weights these are."""
    one = order.healed
    if one is None:
        return []
    told = {
        Weights.HEALED: "The healed weights are in these files.",
        Weights.UNHEALED: "The weights in these files are those from before, as they were found.",
    }
    lines = ["", "## Healing", "", escaped(one.said())]
    if one.after is not None:
        names = [name for name, value in one.before.items() if one.after.get(name) != value]
        rows = [f"| {name} | {_number(one.before[name])} | {_number(one.after.get(name))} |" for name in names]
        lines += ["", told[order.ships], "", "| metric | before | healed |", "|---|---:|---:|", *rows]
    return lines


def _sharing(order: ExportOrder) -> list[str]:
    """What sharing weights costs, where the job looked: on validation samples, of two networks of its space."""
    if not order.sharing or order.trained_alone:
        return []
    intro = "The weights are a slice of a supernet's. Networks of its space that were trained alone as well:"
    return ["", "## What sharing costs", "", intro, "", *(f"- {escaped(cost.said())}" for cost in order.sharing)]


def _card(
    order: ExportOrder,
    spec: JobSpec,
    architecture: Architecture,
    numbers: _Numbers,
    environment: Environment,
    kept: Kept,
    needed: str,
    *,
    normed: bool,
) -> str:
    """The model card as Markdown, up to what was verified and the table of files."""
    data = kept.data
    on_front = order.finalist is not None and order.finalist.position is not None
    place = (
        f"Position {order.finalist.position} of {order.front_size} on the job's Pareto front."
        if order.finalist is not None and on_front
        else "Not on the job's final Pareto front."
    )
    head, rows = _rows(order, numbers)
    notes = [*numbers.notes, *([] if (lost := without_tokenizer(spec)) is None else [escaped(lost)])]
    measured = [_measurement(m) for m in order.finalist.measurements] if order.finalist else []
    choices = [f"| {name} | {value} |" for name, value in architecture.values.items()]
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    return "\n".join(
        [
            f"# {architecture.space} {architecture.id}",
            "",
            *_where_from(order, place, normed=normed),
            "",
            *(["```", f"python load.py        # {needed} only", "```", ""] if not order.formats else []),
            "## Numbers",
            "",
            f"`{data.metric}` is on the validation split that the search used; `test_...` is on what none has seen."
            " Intervals are 95 %: of other examples like these, or of another measurement.",
            "",
            *head,
            *rows,
            *(["", "## Measured latency", "", *measured] if measured else []),
            *_healing(order),
            *_sharing(order),
            "",
            "## Data",
            "",
            f"{spec.data.source}: {escaped(data.origin)}. Input: {data.preprocessing['input']}; "
            f"{data.preprocessing['formula']}{_constants(data.preprocessing)}{_sizing(data.preprocessing)}.",
            "",
            _learned(spec, kept.counts),
            *(line for note in notes for line in ("", note)),
            "",
            *_checkpoint(spec),
            *_limits(data, numbers, timed=bool(measured)),
            "## Recipe",
            "",
            *cited(spec),
            "",
            "```json",
            json.dumps(spec.model_dump(mode="json"), indent=2),
            "```",
            "",
            *_weight_bits(spec),
            "## Architecture",
            "",
            "| choice | value |",
            "|---|---|",
            *choices,
            "",
            "## Versions",
            "",
            f"{versions}. Exported on {environment['device']}, {environment['os']}.",
            "",
        ]
    )


def _weight_bits(spec: JobSpec) -> list[str]:
    """Which processors multiply the weights of integer layers exactly."""
    if spec.quantization is None:
        return []
    if spec.quantization.weight_bits != 8:
        return ["Weights that are multiplied with bytes use 7 bits, which every processor does exactly.", ""]
    return [
        "Weights that are multiplied with bytes use 8 bits, which processors with VNNI or AMX do exactly. On other x86 "
        f'processors ONNX Runtime needs the session option `{EXACTLY}` = "1", or its answers are wrong.',
        "",
    ]


def _rows(order: ExportOrder, numbers: _Numbers) -> tuple[list[str], list[str]]:
    """The table of numbers, beside those of the reference."""
    intervals = (order.finalist.intervals or {}) if order.finalist is not None else {}
    if order.ships == Weights.HEALED and order.healed is not None:
        intervals = order.healed.intervals
    other, head = order.reference, ["metric", "value", "95 %", "how it was obtained"]
    head += [] if other is None else [other.name, f"share of the {other.name}'s"]
    rows = []
    for name, value in sorted(numbers.metrics.items()):
        ends = intervals.get(name)
        spread = "" if ends is None or None in ends else f"{ends[0]:,.6g} to {ends[1]:,.6g}"
        cells = [name, _number(value), spread, str(numbers.sources[name])]
        if other is not None:
            of = other.metrics.get(name)
            share = "" if value is None or of is None or not of > 0 else f"{value / of:.3g}"
            cells += ["" if of is None else _number(of), share]
        rows.append(f"| {' | '.join(cells)} |")
    ends_right = ["---", "---:", "---:", "---", "---:", "---:"][: len(head)]
    return [f"| {' | '.join(head)} |", f"|{'|'.join(ends_right)}|"], rows


def _number(value: float | None) -> str:
    return "no number" if value is None else f"{value:,.6g}"


def escaped(text: str) -> str:
    """A name as Markdown shows it: as it is, whatever it holds."""
    return re.sub(r"([\\`*_{}\[\]<>#!|~&])", r"\\\1", visible(text))


def _where_from(order: ExportOrder, place: str, *, normed: bool) -> list[str]:
    job = f"job {order.job.id} ({escaped(order.job.name)})"
    if order.ships == Weights.HEALED and order.healed is not None:
        return [
            f"A sub-network of a supernet, found and healed by {job}. {place}",
            f"Its weights began as a slice of the supernet's and were trained further, alone, with the "
            f"{order.healed.teacher} as teacher.",
        ]
    if order.trained_alone:
        return [f"A network that {job} found by gradient and then trained from scratch, alone. {place}"]
    return [
        f"A sub-network of the supernet that {job} trained. {place}",
        f"Its weights are a slice of the supernet's{', with batch-norm statistics of its own' if normed else ''}; "
        "it was not retrained.",
    ]


def _learned(spec: JobSpec, counts: Mapping[str, int]) -> str:
    """How many examples there were, and by whom and how long the supernet was trained on them."""
    reused, training = spec.supernet.reuse, spec.training
    told = ", ".join(f"{counts[name]:,} for {use}" for name, use in USES.items())
    if spec.gradient is not None:
        return f"Examples: {told}."
    if reused is not None:
        trained = f"by job {reused}"
    elif training.epochs:
        trained = (
            f"for {training.epochs:,} epoch{'' if training.epochs == 1 else 's'} by the method `{training.method}`"
        )
    else:
        trained = "no further than what it started from"
    return f"Examples: {told}. The supernet was trained {trained}."


def _constants(preprocessing: Mapping[str, Any]) -> str:
    """The numbers of the formula, where it has some: one, or one per channel."""
    if "mean" not in preprocessing:
        return ""
    mean, std = (
        ", ".join(f"{number:.6g}" for number in (value if isinstance(value, list) else [value]))
        for value in (preprocessing["mean"], preprocessing["std"])
    )
    return f" with mean {mean} and std {std}"


def _sizing(preprocessing: Mapping[str, Any]) -> str:
    """How a checkpoint's own processor sizes pictures."""
    return f", after {escaped(preprocessing['resize'])}" if "resize" in preprocessing else ""


def _checkpoint(spec: JobSpec) -> list[str]:
    """What the checkpoint gave and lacked."""
    if spec.supernet.pretrained is None:
        return []
    return [
        "## Checkpoint",
        "",
        f"Started from {' and '.join(map(escaped, spec.supernet.folders))}.",
        "",
        *(f"- {escaped(text)}" for _, text in said_of(spec)),
        "",
    ]


def _limits(data: Dataset, numbers: _Numbers, *, timed: bool) -> list[str]:
    """For what the numbers do not hold."""
    held = [
        f"`{data.metric}` and `test_{data.metric}` are of the data named above. Nothing was measured on other data, "
        "and not how answers differ between groups of people."
    ]
    if data.test.is_language:
        length = data.test.stored.shape[1]
        held.append(f"It was trained and scored on texts of {length:,} tokens; longer ones were not tried.")
    if timed:
        held.append("Times are of the devices and runtimes named above. Another device has others.")
    if Source.PREDICTED in numbers.sources.values():
        held.append("What is `predicted` comes of a model that was fitted to measurements; it was not measured.")
    return ["## Limits", "", *(f"- {line}" for line in held), ""]


def _measurement(m: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in m["versions"].items())
    return (
        f"- {m['median_ms']:.4g} ms median, {m['p95_ms']:.4g} ms p95 over {m['runs']} runs: {m['target']}, "
        f"{m['device']}, {m['threads']} thread{'s' if m['threads'] > 1 else ''}, batch {m['batch']}, "
        f"{m['dtype']}, {versions}."
    )


def export_order(
    job: Job,
    evaluation: EvaluationRow | None,
    finalist: Finalist | None,
    finalists: Sequence[Finalist],
    weights: Artifact | None,
    kept: Artifact | None = None,
    formats: str = "",
    reference: Compared | None = None,
    sharing: Sequence[SharingCost] = (),
    healed: HealedNetwork | None = None,
    ships: Weights = Weights.UNHEALED,
    front: Sequence[tuple[EvaluationRow, Finalist]] = (),
) -> ExportOrder:
    """The order from rows that the API has checked to be there."""
    assert evaluation is not None
    assert weights is not None
    on_front = sum(one.position is not None for one in finalists)
    return ExportOrder(
        job,
        evaluation,
        finalist,
        on_front,
        weights,
        kept,
        tuple(filter(None, formats.split(","))),
        reference,
        tuple(sharing),
        healed,
        ships,
        tuple(front),
    )
