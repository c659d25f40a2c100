"""Exports: from a stored supernet to verified files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from export.bundle import Bundle, BundleContents, write_bundle
from export.formats.safetensors.format import needs
from job.spec import JobSpec
from job.versions import read_job
from pipeline.artifacts import ArtifactStore
from pipeline.check import said_of
from pipeline.environment import Environment, describe
from pipeline.own_data import companion_files, job_data
from pipeline.shipping import float_type, shipped
from pipeline.workshop import make_evaluator
from search.metrics import Source
from search_space.architecture import Architecture
from search_space.operations import alone
from service.store.models import Artifact, EvaluationRow, Finalist, Job
from supernet.data import Decoding
from supernet.evaluate import score
from supernet.flat import load_tensors
from supernet.network import Supernet

# Test samples on which what was written is compared with the network.
COMPARED_SAMPLES = 2048


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """Everything an export needs from the database."""

    job: Job
    evaluation: EvaluationRow
    finalist: Finalist | None
    front_size: int
    weights: Artifact

    @property
    def trained_alone(self) -> bool:
        """Whether the weights are the network's own, and not a supernet's."""
        return self.weights.kind == "network"


def make_export(order: ExportOrder, artifacts: ArtifactStore, num_threads: int, decoding: Decoding) -> Bundle:
    """Extract, calibrate, write, reload, compare and pack one architecture.

    Raises:
        ArtifactDamaged: the supernet's file is not what was written.
        VerificationError: what was written does not behave like the network.
    """
    spec = read_job(order.job.spec)
    space = spec.space()
    architecture = space.architecture(**order.evaluation.values)
    data = job_data(spec, decoding)
    supernet = Supernet(alone(space, architecture) if order.trained_alone else spec.supernet.space())
    load_tensors(supernet, artifacts.load(order.weights.path, order.weights.sha256))
    network = shipped(make_evaluator(spec, supernet, data).network(architecture), spec)
    metrics = dict(order.evaluation.metrics) | {f"test_{data.metric}": score(network, data.test)}
    sources = dict(order.evaluation.sources) | {f"test_{data.metric}": Source.MEASURED}
    if order.finalist is not None:
        metrics, sources = order.finalist.metrics | metrics, order.finalist.sources | sources
    environment = describe(torch.device("cpu"), num_threads)
    facts = {
        "format": "winnow-architecture/1",
        "architecture_id": architecture.id,
        "space": space.name,
        "values": architecture.values,
        "metrics": metrics,
        "sources": sources,
        "preprocessing": data.preprocessing,
        "dtype": str(float_type(spec)).removeprefix("torch."),
    }
    needed = needs([type(block) for block in network.children()])
    card = _card(order, spec, architecture, metrics, sources, environment, data.origin, data.preprocessing, needed)
    subject = BundleContents(network, space.layers(architecture), facts, card, companion_files(spec))
    folder = artifacts.root / "exports" / order.job.id / architecture.id
    compared = slice(0, COMPARED_SAMPLES)
    return write_bundle(subject, data.test.inputs(compared), data.test.y[compared], folder, data.test.mask(compared))


def _card(
    order: ExportOrder,
    spec: JobSpec,
    architecture: Architecture,
    metrics: Mapping[str, float],
    sources: Mapping[str, str],
    environment: Environment,
    origin: str,
    preprocessing: Mapping[str, Any],
    needed: str,
) -> str:
    """The model card as Markdown, up to the table of files."""
    place = (
        f"Position {order.finalist.position} of {order.front_size} on the job's Pareto front."
        if order.finalist
        else "Not on the job's final Pareto front."
    )
    numbers = [f"| {name} | {value:,.6g} | {sources[name]} |" for name, value in sorted(metrics.items())]
    measured = [_measurement(m) for m in order.finalist.measurements] if order.finalist else []
    choices = [f"| {name} | {value} |" for name, value in architecture.values.items()]
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    return "\n".join(
        [
            f"# {architecture.space} {architecture.id}",
            "",
            *_where_from(order, place),
            "",
            "```",
            f"python load.py        # builds the network and loads the weights: {needed} only",
            "```",
            "",
            "## Numbers",
            "",
            "`accuracy` is on the validation split that the search used, `test_accuracy` on a split that nothing else"
            " has seen.",
            "",
            "| metric | value | how it was obtained |",
            "|---|---:|---|",
            *numbers,
            *(["", "## Measured latency", "", *measured] if measured else []),
            "",
            "## Data",
            "",
            f"{spec.data.source}: {origin}. Input: {preprocessing['input']}; {preprocessing['formula']}"
            f"{_constants(preprocessing)}{_sizing(preprocessing)}.",
            "",
            *_checkpoint(spec),
            "## Recipe",
            "",
            "```json",
            json.dumps(spec.model_dump(mode="json"), indent=2),
            "```",
            "",
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


def _where_from(order: ExportOrder, place: str) -> list[str]:
    job = f"job {order.job.id} ({order.job.name})"
    if order.trained_alone:
        return [f"A network that {job} found by gradient and then trained from scratch, alone. {place}"]
    return [
        f"A sub-network of the supernet that {job} trained. {place}",
        "Its weights are a slice of the supernet's, with batch-norm statistics of its own; it was not retrained.",
    ]


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
    return f", after {preprocessing['resize']}" if "resize" in preprocessing else ""


def _checkpoint(spec: JobSpec) -> list[str]:
    """What the checkpoint gave and lacked."""
    if spec.supernet.pretrained is None:
        return []
    return [
        "## Checkpoint",
        "",
        f"Started from `{spec.supernet.pretrained}`.",
        "",
        *(f"- {text}" for _, text in said_of(spec)),
        "",
    ]


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
) -> ExportOrder:
    """The order from rows that the API has checked to be there."""
    assert evaluation is not None
    assert weights is not None
    return ExportOrder(job, evaluation, finalist, len(finalists), weights)
