"""resolve: what a job leaves open and what follows from it alone, written down before it is checked and stored.

A stored job says everything, so no worker decides anything about it later, and two jobs that mean the same are equal
whatever their spelling. What only a device or the data can tell stays open, such as `gradient.reference_ms`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from job.data_spec import DataPart
from job.fidelities_spec import known_steps, resolved_fidelities
from job.goal_spec import ObjectiveSpec
from job.gradient_spec import GradientSpec
from job.healing_spec import HealingSpec
from job.quantization_spec import QuantizationSpec
from job.scoring_spec import ScoringSpec
from job.spec import JobSpec, SearchSpec, SupernetSpec
from job.training_spec import TrainingSpec
from plugins.options import Options, paths_of
from search.metrics import METRICS

P = TypeVar("P", bound=Options)

# Families whose trainings by several processes are sharded unless the job says otherwise.
SHARDED_FAMILIES = ("llama",)


def resolve(spec: JobSpec) -> JobSpec:
    """The same job with every decision in it; a resolved one stays as it is."""
    family, gradient, quantization = spec.supernet.family, spec.gradient, spec.quantization
    healing = spec.healing
    return spec.model_copy(
        update={
            "supernet": resolved_supernet(spec.supernet),
            "data": resolved_data(spec.data),
            "training": resolved_training(spec.training, family),
            "objectives": tuple(_with_goal(objective) for objective in spec.objectives),
            "scoring": _scoring(spec.scoring),
            "quantization": None if quantization is None else _quantization(quantization),
            "gradient": None if gradient is None else _gradient(gradient, spec.training, family),
            "healing": None if healing is None else _healing(healing, spec.training),
            "search": _search(spec),
        }
    )


def opened(spec: JobSpec) -> JobSpec:
    """A job to change: what `resolve` decided of its space and its trainings is left open again, so that it follows the
    changes.

    What the client decided otherwise stays. `resolve(opened(spec))` is `spec`.
    """
    training, part = _opened_training(spec.training, spec.supernet.family), spec.gradient
    healing, engines_open = spec.healing, spec.supernet.model_copy(update={"deployable": None})
    if engines_open.engines == spec.supernet.deployable:
        spec = spec.model_copy(update={"supernet": engines_open})
    if healing is not None and healing.batch_size == spec.training.batch_size:
        spec = spec.model_copy(update={"healing": healing.model_copy(update={"batch_size": None})})
    if (fidelities := spec.search.fidelities) is not None:
        left = fidelities.model_copy(update={"steps": None})
        if resolved_fidelities(left, healing, known_steps(spec)) == fidelities:
            spec = spec.model_copy(update={"search": spec.search.model_copy(update={"fidelities": left})})
    if part is None:
        return spec.model_copy(update={"training": training})
    left_open = {
        "warmup_lr_decay_epochs": None,
        "held_out_batch_size": None,
        "final": _opened_training(part.final, spec.supernet.family),
    }
    again = _gradient(part.model_copy(update=left_open), training, spec.supernet.family)
    same = {name: value for name, value in left_open.items() if getattr(again, name) == getattr(part, name)}
    return spec.model_copy(update={"training": training, "gradient": part.model_copy(update=same)})


def _opened_training(training: TrainingSpec, family: str) -> TrainingSpec:
    left_open = dict.fromkeys(("lr_decay_epochs", "sharded"))
    again = resolved_training(training.model_copy(update=left_open), family)
    return training.model_copy(
        update={name: None for name in left_open if getattr(again, name) == getattr(training, name)}
    )


def resolved_supernet(supernet: SupernetSpec) -> SupernetSpec:
    """The space with its engines, and its checkpoint, which the API has read where `~` is its own home."""
    supernet = _with(supernet, deployable=supernet.engines)
    if supernet.pretrained is None:
        return supernet
    folders = tuple(_path(str(Path(folder).expanduser())) for folder in supernet.folders)
    return _with(supernet, pretrained=folders[0] if isinstance(supernet.pretrained, str) else folders)


def resolved_data(data: DataPart) -> DataPart:
    """The data, with their paths in one spelling."""
    given = {name: getattr(data, name, None) for name, _, _ in paths_of(data)}
    return _with(data, **{name: _path(value) for name, value in given.items() if isinstance(value, str)})


def resolved_training(training: TrainingSpec, family: str) -> TrainingSpec:
    """The training of a supernet of this family."""
    sharded = training.sharded
    if sharded is None:
        sharded = training.total_processes > 1 and family in SHARDED_FAMILIES and not training.unshardable
    return _with(training, lr_decay_epochs=training.decay_epochs(training.epochs), sharded=sharded)


def _gradient(part: GradientSpec, training: TrainingSpec, family: str) -> GradientSpec:
    return _with(
        part,
        targets=tuple(_path(target) for target in part.targets),
        warmup_lr_decay_epochs=part.warmup_lr_decay_epochs or training.decay_epochs(part.warmup_epochs),
        held_out_batch_size=part.held_out_batch_size or training.batch_size,
        final=resolved_training(part.final, family),
    )


def _healing(part: HealingSpec, training: TrainingSpec) -> HealingSpec:
    data = None if part.data is None else resolved_data(part.data)
    return _with(part, batch_size=part.batch_size or training.batch_size, data=data)


def _search(spec: JobSpec) -> SearchSpec:
    part = spec.search.fidelities
    if part is None:
        return spec.search
    return _with(spec.search, fidelities=resolved_fidelities(part, spec.healing, known_steps(spec)))


def _with_goal(objective: ObjectiveSpec) -> ObjectiveSpec:
    return _with(objective, goal=METRICS[objective.metric].goal)


def _scoring(scoring: ScoringSpec) -> ScoringSpec:
    return _with(scoring, tasks=tuple(_with(task, path=_path(task.path)) for task in scoring.tasks))


def _quantization(asked: QuantizationSpec) -> QuantizationSpec:
    """Widths in their order, each with its scheme."""
    from search_space.layers.precision import DEFAULT_SCHEMES  # not needed to start the API

    widths = {*asked.bits, *asked.pinned.values(), *(bits for many in asked.layers.values() for bits in many)}
    usual = {bits: DEFAULT_SCHEMES[bits] for bits in widths if bits in DEFAULT_SCHEMES}
    return _with(
        asked,
        bits=_in_order(asked.bits),
        layers={name: _in_order(bits) for name, bits in asked.layers.items()},
        schemes=dict(sorted({**usual, **asked.schemes}.items())),
    )


def _in_order(widths: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(widths))


def _path(path: str) -> str:
    """An absolute path without doubled or trailing slashes. Links are not followed: the worker's may be others.

    What is relative may be a name on a hub, and stays as it is.
    """
    if not path.startswith("/"):
        return path
    return str(Path("/" + path.lstrip("/")))


def _with(part: P, **changes: object) -> P:
    """The part with these fields, as if they had been written."""
    same = all(getattr(part, name) == value for name, value in changes.items())
    return part if same else part.model_copy(update=changes)
