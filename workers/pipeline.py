"""The stages of a job. Each resumes from what is stored, so a killed run loses seconds.

prepare data -> train supernet -> search -> measure finalists -> done
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch

from export.formats import onnx
from export.measure import measure
from predictors.cost import ANALYTIC
from search.algorithms import algorithm_for
from search.evaluation import Evaluation
from search.loop import run_search
from search.objectives import limits_of
from search.pareto import pareto_front
from search.problem import Problem
from search.spec import JobSpec
from search_space import plugins
from search_space.architecture import Architecture
from search_space.space import SearchSpace
from service.settings import Settings
from service.store.models import Artifact, EvaluationRow, Finalist
from supernet.data import Dataset, load_dataset
from supernet.evaluate import accuracy
from supernet.network import Supernet
from supernet.trainer import Trainer, TrainingOptions
from workers.artifacts import ArtifactDamaged, ArtifactStore, Written
from workers.evaluator import Evaluator
from workers.reporter import Interrupted, Reporter

log = structlog.get_logger()

# Points of the live curve at which smallest and largest network are validated.
CURVE_VALIDATIONS = 10


class JobFailed(Exception):
    """The job cannot be done; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every stage needs."""

    job_id: str
    spec: JobSpec
    space: SearchSpace
    reporter: Reporter
    artifacts: ArtifactStore
    settings: Settings
    device: torch.device


def run(shop: Workshop) -> None:
    """Every stage in order, then the job has succeeded.

    Raises:
        Interrupted: the job is to be paused or cancelled; what was done is stored.
        DiskFull: a file could not be written; what was stored before is intact.
        JobFailed: with the reason for the user.
    """
    shop.reporter.stage("prepare data")
    data = load_dataset(shop.spec.data.source, shop.spec.training.seed).to(shop.device)
    supernet = train_supernet(shop, data)
    evaluator = make_evaluator(shop.spec, supernet, data)
    evaluations = search(shop, evaluator)
    measure_finalists(shop, evaluator, evaluations)
    shop.reporter.end("succeeded", None)


def make_evaluator(spec: JobSpec, supernet: Supernet, data: Dataset) -> Evaluator:
    """The evaluator of a job; the same in its search and in later exports."""
    return Evaluator(supernet, data, spec.search.calibration_images, spec.training.seed)


# --- train supernet ------------------------------------------------------------------------------


def train_supernet(shop: Workshop, data: Dataset) -> Supernet:
    """A trained supernet: the stored one, or trained from the last good checkpoint on."""
    torch.manual_seed(shop.spec.training.seed)
    supernet = Supernet(shop.space).to(shop.device)
    if stored := shop.reporter.artifacts("supernet"):
        supernet.load_state_dict(shop.artifacts.load(stored[0].path, stored[0].sha256))
        return supernet
    trainer = make_trainer(shop.spec, supernet, data)
    _resume(shop, trainer)
    shop.reporter.stage("train supernet", trainer.steps_done / trainer.num_steps)
    checkpoints = _Checkpoints(shop, trainer)
    curve = _Curve(shop, trainer, data)
    while trainer.steps_done < trainer.num_steps:
        curve.add(trainer.step())
        try:
            shop.reporter.progress(trainer.steps_done / trainer.num_steps)
        except Interrupted as interrupted:
            if interrupted.state == "pausing":
                checkpoints.save()
            raise
        checkpoints.save_if_due()
    written = shop.artifacts.save(f"supernets/{shop.job_id}.safetensors", supernet.state_dict())
    _record(shop, "supernet", trainer.steps_done, written)
    checkpoints.remove_all()
    return supernet


def make_trainer(spec: JobSpec, supernet: Supernet, data: Dataset) -> Trainer:
    """The trainer that a job's training part describes.

    Raises:
        JobFailed: a batch would be larger than the training split.
    """
    training = spec.training
    if training.batch_size > len(data.train):
        raise JobFailed(
            f"training.batch_size is {training.batch_size}, but {data.name} has only {len(data.train)} "
            "training images; choose a smaller batch."
        )
    options = training.model_dump(include=set(TrainingOptions.__dataclass_fields__))
    # In BigNAS the decay reaches its floor after two thirds of the training (bignas.md, 1.2).
    options["lr_decay_epochs"] = options["lr_decay_epochs"] or training.epochs / 150
    method = plugins.load("supernet.methods", training.method, "training method").METHOD
    return Trainer(supernet, method(**training.options), data.train, TrainingOptions(**options), training.seed)


def _resume(shop: Workshop, trainer: Trainer) -> None:
    """Go to the newest checkpoint that is whole; a damaged one is reported and skipped."""
    for checkpoint in shop.reporter.artifacts("checkpoint"):
        try:
            trainer.restore(shop.artifacts.load(checkpoint.path, checkpoint.sha256), checkpoint.step)
        except ArtifactDamaged as error:
            shop.reporter.event("message", {"level": "warning", "text": f"Checkpoint skipped: {error}"})
            continue
        text = f"Resumed at step {checkpoint.step} of {trainer.num_steps}."
        shop.reporter.event("message", {"level": "info", "text": text})
        return


def _record(shop: Workshop, kind: str, step: int, written: Written) -> None:
    """Say in the database that a file is safely on the disk."""
    facts = {"path": written.path, "sha256": written.sha256, "size_bytes": written.size_bytes}
    shop.reporter.artifact(lambda: Artifact(job_id=shop.job_id, kind=kind, step=step, **facts))


class _Checkpoints:
    """Saves a training now and then, and keeps the newest few."""

    def __init__(self, shop: Workshop, trainer: Trainer) -> None:
        self._shop, self._trainer = shop, trainer
        self._saved_at = time.monotonic()

    def save_if_due(self) -> None:
        if time.monotonic() - self._saved_at >= self._shop.settings.checkpoint_seconds:
            self.save()

    def save(self) -> None:
        shop, step = self._shop, self._trainer.steps_done
        written = shop.artifacts.save(f"checkpoints/{shop.job_id}/{step}.safetensors", self._trainer.tensors())
        _record(shop, "checkpoint", step, written)
        self._saved_at = time.monotonic()
        self._remove(shop.reporter.artifacts("checkpoint")[shop.settings.keep_checkpoints :])

    def remove_all(self) -> None:
        self._remove(self._shop.reporter.artifacts("checkpoint"))

    def _remove(self, old: Sequence[Artifact]) -> None:
        kept = {a.path for a in self._shop.reporter.artifacts("checkpoint")} - {a.path for a in old}
        self._shop.reporter.forget([artifact.id for artifact in old])
        for path in {artifact.path for artifact in old} - kept:
            self._shop.artifacts.remove(path)


class _Curve:
    """The training curve: mean losses of every epoch, now and then with validation accuracies."""

    def __init__(self, shop: Workshop, trainer: Trainer, data: Dataset) -> None:
        self._shop, self._trainer, self._data = shop, trainer, data
        self._sums: dict[str, float] = {}
        self._steps = 0
        self._every = max(1, shop.spec.training.epochs // CURVE_VALIDATIONS)

    def add(self, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        if self._trainer.steps_done % self._trainer.steps_per_epoch:
            return
        epoch = self._trainer.steps_done // self._trainer.steps_per_epoch
        point = {name: total / self._steps for name, total in self._sums.items()}
        self._sums, self._steps = {}, 0
        if epoch % self._every == 0 or epoch == self._shop.spec.training.epochs:
            point |= self._validate()
        self._shop.reporter.event("curve", {"epoch": epoch, **point})

    def _validate(self) -> dict[str, float]:
        evaluator = make_evaluator(self._shop.spec, self._trainer.supernet, self._data)
        ends = {"smallest": self._shop.space.smallest(), "largest": self._shop.space.largest()}
        return {
            f"accuracy_{name}": accuracy(evaluator.network(architecture), self._data.validation)
            for name, architecture in ends.items()
        }


# --- search --------------------------------------------------------------------------------------


def search(shop: Workshop, evaluator: Evaluator) -> list[Evaluation]:
    """Every evaluation of the search; those that are stored already are replayed."""
    plan, space = shop.spec.search, shop.space
    algorithm = algorithm_for(
        search_problem(shop.spec, space),
        plan.algorithm,
        seed=plan.seed,
        evaluations=plan.evaluations,
        options=plan.options,
    )
    stored = shop.reporter.evaluations()
    known: dict[str, Evaluation] = {}
    for row in stored:
        architecture = space.architecture(**row.values)
        known[architecture.id] = Evaluation(architecture, row.metrics, row.sources)
    shop.reporter.stage("search", len(known) / plan.evaluations)

    def evaluate(architecture: Architecture) -> Evaluation:
        began = time.monotonic()
        evaluation = evaluator.evaluate(architecture)
        assert not isinstance(evaluation.source, str)
        shop.reporter.evaluation(
            EvaluationRow(
                architecture_id=architecture.id,
                values=architecture.values,
                metrics=dict(evaluation.metrics),
                sources=dict(evaluation.source),
                seconds=time.monotonic() - began,
            )
        )
        known[architecture.id] = evaluation
        shop.reporter.progress(len(known) / plan.evaluations)
        return evaluation

    return run_search(algorithm, evaluate, known)


def search_problem(spec: JobSpec, space: SearchSpace) -> Problem:
    """What a job's search looks for; the costs that layer specs give are exact."""

    def exact(metric: str) -> Callable[[Architecture], float]:
        return lambda architecture: float(ANALYTIC[metric](space, architecture))

    objectives = tuple(objective.objective() for objective in spec.objectives)
    constraints = tuple(constraint.constraint() for constraint in spec.constraints)
    wanted = {objective.metric for objective in objectives} | {constraint.metric for constraint in constraints}
    return Problem(
        space,
        objectives,
        constraints,
        exact_costs={metric: exact(metric) for metric in sorted(wanted & set(ANALYTIC))},
        seeds=tuple(space.architecture(**values) for values in spec.search.seed_architectures),
    )


# --- measure finalists ---------------------------------------------------------------------------


def measure_finalists(shop: Workshop, evaluator: Evaluator, evaluations: list[Evaluation]) -> None:
    """Test accuracy and measured latency of every network on the front.

    Raises:
        JobFailed: no evaluated architecture meets the limits.
    """
    objectives = [objective.objective() for objective in shop.spec.objectives]
    constraints = [constraint.constraint() for constraint in shop.spec.constraints]
    front = pareto_front(evaluations, objectives, constraints)
    if not front:
        raise JobFailed(_nothing_feasible(shop, evaluations))
    finished = {finalist.architecture_id for finalist in shop.reporter.finalists()}
    shop.reporter.stage("measure finalists", len(finished) / len(front))
    for position, evaluation in enumerate(front, 1):
        if evaluation.architecture.id not in finished:
            finalist = _measured(shop, evaluator, evaluation, position)
            shop.reporter.finalist(finalist)
        shop.reporter.progress(position / len(front), force=True)


def _measured(shop: Workshop, evaluator: Evaluator, evaluation: Evaluation, position: int) -> Finalist:
    network = evaluator.network(evaluation.architecture)
    test_accuracy = accuracy(network, evaluator.data.test)
    with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
        onnx.write(network.cpu(), evaluator.data.test.x[:1].cpu(), Path(folder))
        results = measure(Path(folder) / "model.onnx", threads=sorted({1, os.cpu_count() or 1}))
    metrics = {"test_accuracy": test_accuracy, "latency_ms": results[0]["median_ms"]}
    return Finalist(
        job_id=shop.job_id,
        architecture_id=evaluation.architecture.id,
        position=position,
        metrics=metrics,
        sources=dict.fromkeys(metrics, "measured"),
        measurements=results,
    )


def _nothing_feasible(shop: Workshop, evaluations: list[Evaluation]) -> str:
    """The limits that nobody met, and who came nearest."""
    objectives = [objective.objective() for objective in shop.spec.objectives]
    limited = limits_of(objectives, [constraint.constraint() for constraint in shop.spec.constraints])
    nearest = min(evaluations, key=lambda e: sum(o.violation(e.metrics[o.metric]) for o in limited))
    limits = ", ".join(f"{o.metric} {o.limit:g}" for o in limited)
    scores = ", ".join(f"{o.metric} {nearest.metrics[o.metric]:g}" for o in limited)
    return (
        f"None of {len(evaluations)} architectures meets the limits ({limits}). "
        f"The nearest is {nearest.architecture.id} with {scores}."
    )
