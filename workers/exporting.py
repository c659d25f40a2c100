"""Exports: from a stored supernet to verified files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from export.bundle import Bundle, Subject, write_bundle
from search.spec import JobSpec
from search_space.architecture import Architecture
from service.store.models import Artifact, EvaluationRow, Finalist, Job
from supernet.data import load_dataset
from supernet.evaluate import accuracy
from supernet.network import Supernet
from workers.artifacts import ArtifactStore
from workers.environment import describe
from workers.pipeline import make_evaluator


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """Everything an export needs from the database."""

    job: Job
    evaluation: EvaluationRow
    finalist: Finalist | None
    front_size: int
    supernet: Artifact


def make_export(order: ExportOrder, artifacts: ArtifactStore, num_threads: int) -> Bundle:
    """Extract, calibrate, write, reload, compare and pack one architecture.

    Raises:
        ArtifactDamaged: the supernet's file is not what was written.
        VerificationError: what was written does not behave like the network.
    """
    spec = JobSpec.model_validate(order.job.spec)
    space = spec.supernet.space()
    architecture = space.architecture(**order.evaluation.values)
    data = load_dataset(spec.data.source, spec.training.seed)
    supernet = Supernet(space)
    supernet.load_state_dict(artifacts.load(order.supernet.path, order.supernet.sha256))
    network = make_evaluator(spec, supernet, data).network(architecture)
    metrics = dict(order.evaluation.metrics) | {"test_accuracy": accuracy(network, data.test)}
    sources = dict(order.evaluation.sources) | {"test_accuracy": "measured"}
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
    }
    card = _card(order, spec, architecture, metrics, sources, environment, data.origin, data.preprocessing)
    subject = Subject(network, space.layers(architecture), facts, card)
    folder = artifacts.root / "exports" / order.job.id / architecture.id
    return write_bundle(subject, data.test.x, data.test.y, folder)


def _card(
    order: ExportOrder,
    spec: JobSpec,
    architecture: Architecture,
    metrics: Mapping[str, float],
    sources: Mapping[str, str],
    environment: Mapping[str, Any],
    origin: str,
    preprocessing: Mapping[str, Any],
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
            f"A sub-network of the supernet that job {order.job.id} ({order.job.name}) trained. {place}",
            "Its weights are a slice of the supernet's, with batch-norm statistics of its own; it was not retrained.",
            "",
            "```",
            "python load.py        # builds the network and loads the weights: torch and safetensors only",
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
            f"{spec.data.source}: {origin}. Input: {preprocessing['input']}; {preprocessing['formula']} with mean "
            f"{preprocessing['mean']:.6g} and std {preprocessing['std']:.6g}.",
            "",
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
    supernets: Sequence[Artifact],
) -> ExportOrder:
    """The order from rows that the API has checked to be there."""
    assert evaluation is not None
    assert supernets
    return ExportOrder(job, evaluation, finalist, len(finalists), supernets[0])
