"""Stored jobs of any version: one function reads them all, and older ones are upgraded step by step.

A row keeps what it was written with. A field that this version does not know, of a newer Winnow or of a plug-in that
has changed, is left aside and logged, so that it never hides a job's results. Requests are judged by `JobSpec` itself,
which refuses such a field.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from job.data_spec import DataSpec
from job.parts import Part
from job.resolve import resolve, resolved_data, resolved_supernet, resolved_training
from job.spec import STORED, JobSpec, SupernetSpec
from job.training_spec import TrainingSpec
from job.version import JOB_VERSION

log = logging.getLogger(__name__)

Stored = Mapping[str, Any]
P = TypeVar("P", bound=Part)


class TrainedParts(Part):
    """The parts of a job that make a trained supernet what it is."""

    supernet: SupernetSpec
    data: DataSpec
    training: TrainingSpec


def read_job(stored: Stored) -> JobSpec:
    """The job that a row holds, resolved, whatever version wrote it.

    Raises:
        ValidationError: a field that this version knows has a value that it does not take.
    """
    return resolve(_parsed(JobSpec, upgraded(stored)))


def read_trained(version: int, supernet: Stored, data: Stored, training: Stored) -> TrainedParts:
    """The same of the parts that are stored with a trained supernet."""
    stored = upgraded({"version": version, "supernet": supernet, "data": data, "training": training})
    del stored["version"]
    parts = _parsed(TrainedParts, stored)
    return parts.model_copy(
        update={
            "supernet": resolved_supernet(parts.supernet),
            "data": resolved_data(parts.data),
            "training": resolved_training(parts.training, parts.supernet.family),
        }
    )


@dataclass(frozen=True, slots=True)
class Outline:
    """What of a job can be said without its space, which may be of a family that is not there (any more).

    Attributes:
        reuse: id of the supernet that it searches; None: it trains its own.
        hosts, processes: machines of its training, and processes on each.
        target: target of its metrics; None if no metric needs one.
        by_gradient: whether it searches by gradient.
        heals: whether it heals networks of its front.
        has_baselines: whether its front is compared with baselines, as that of a search of policies is.
    """

    reuse: str | None
    hosts: int
    processes: int
    target: str | None
    by_gradient: bool
    heals: bool
    has_baselines: bool


def outline(stored: Stored) -> Outline:
    """The outline of the job that a row holds, whatever version wrote it."""
    now = upgraded(stored)
    supernet, training = now.get("supernet", {}), now.get("training", {})
    targets = [goal.get("target") for goal in (*now.get("objectives", ()), *now.get("constraints", ()))]
    return Outline(
        reuse=supernet.get("reuse"),
        hosts=training.get("hosts", 1),
        processes=training.get("processes", 1),
        target=next((target for target in targets if target is not None), None),
        by_gradient=now.get("gradient") is not None,
        heals=now.get("healing") is not None,
        has_baselines=now.get("quantization") is not None,
    )


def upgraded(stored: Stored) -> dict[str, Any]:
    """A stored job in the words of this version; its parts are not to be changed. The first one wrote no number."""
    version = stored.get("version", 1)
    # Steps change what they get; lists of jobs of this version need no copy of all their parts.
    now = dict(stored) if version >= JOB_VERSION else copy.deepcopy(dict(stored))
    for step in range(version, JOB_VERSION):
        UPGRADES[step](now)
    if version > JOB_VERSION:
        log.warning("a job of version %s is read by version %s", version, JOB_VERSION)
    now["version"] = JOB_VERSION
    return now


# --- steps ----------------------------------------------------------------------------------------


def _decide(stored: dict[str, Any]) -> None:
    """1 to 2: what workers of version 1 decided later is in the job. The rules are theirs, whatever today's are."""
    supernet, training, gradient = stored.get("supernet") or {}, stored.get("training"), stored.get("gradient")
    if gradient and training:
        warmup = training.get("lr_decay_epochs") or max(1, gradient["warmup_epochs"]) / 150
        gradient["warmup_lr_decay_epochs"] = warmup
        gradient["held_out_batch_size"] = gradient.get("held_out_batch_size") or training["batch_size"]
    for part in (training, (gradient or {}).get("final")):
        if not part:
            continue
        if "epochs" in part:
            part["lr_decay_epochs"] = part.get("lr_decay_epochs") or max(1, part["epochs"]) / 150
        if part.get("sharded") is None:
            alone = part.get("processes", 1) * part.get("hosts", 1) == 1
            clashes = any(part.get(name) for name in ("ema_decay", "lora_rank", "compile"))
            part["sharded"] = not alone and supernet.get("family") == "llama" and not clashes


def _keep_tables(stored: dict[str, Any]) -> None:
    """2 to 3: tables of words are no part of an older job's policies, whatever its recipe says of new ones."""
    if stored.get("quantization"):
        stored["quantization"].setdefault("embeddings", [])


def _keep_bits(stored: dict[str, Any]) -> None:
    """3 to 4: weights in bytes had seven bits everywhere."""
    if stored.get("quantization"):
        stored["quantization"].setdefault("weight_bits", 7)


# The first version whose jobs are kept to engines that they do not name.
ENGINES_DECIDED = 5


def _keep_spaces(stored: dict[str, Any]) -> None:
    """4 to 5: a space was kept to no engine unless the client named one."""
    if stored.get("supernet"):
        stored["supernet"].setdefault("deployable", [])


# Version -> what makes a job of it one of the next, in place. Steps meet whole jobs and the parts of supernets.
UPGRADES: dict[int, Callable[[dict[str, Any]], None]] = {1: _decide, 2: _keep_tables, 3: _keep_bits, 4: _keep_spaces}


# --- unknown fields -------------------------------------------------------------------------------


def _parsed(model: type[P], given: dict[str, Any]) -> P:
    """The part without fields that it does not have."""
    while True:
        try:
            return model.model_validate(given, context={STORED: True})
        except ValidationError as error:
            given = copy.deepcopy(given)
            removed = [path for path in _unknown(error) if _remove(given, path)]
            if not removed:
                raise
            names = ", ".join(".".join(map(str, path)) for path in removed)
            log.warning("fields of a stored job are left aside, because this version does not know them: %s", names)


def _unknown(error: ValidationError) -> list[tuple[int | str, ...]]:
    """Paths of fields that are refused because nobody knows them."""
    found: list[tuple[int | str, ...]] = []
    for one in error.errors():
        inner = one.get("ctx", {}).get("error")
        if one["type"] == "extra_forbidden":
            found.append(one["loc"])
        elif isinstance(inner, ValidationError):  # options, which the model of their plug-in judges
            found += [(*one["loc"], *path) for path in _unknown(inner)]
    return found


def _remove(given: dict[str, Any], path: tuple[int | str, ...]) -> bool:
    """Remove what is at a path, in which names of models stand that the JSON has not."""
    inside: Any = given
    for name in path[:-1]:
        with suppress(KeyError, TypeError):  # the name of a model, such as that of a data source
            inside = inside[name]
    if not isinstance(inside, dict) or path[-1] not in inside:
        return False
    del inside[path[-1]]
    return True
