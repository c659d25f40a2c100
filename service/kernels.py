"""What kernels of a job's target compute exactly, as far as machines have said so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from job.spec import JobSpec
from predictors.targets import TargetName
from service.queue import QUEUES, RUN_JOB
from service.store import measuring, nodes
from service.store.models import Target

# Where nothing is known: right on every machine.
SAFE = 7


def with_weight_bits(session: Session, spec: JobSpec) -> JobSpec:
    """The job with the bits of its weights in bytes; what it says itself stays.

    A registered machine has said what it measured. "This machine" is any worker, so the least of what the workers that
    are there have measured counts. Rows of an uploaded table have 7 unless they say more, so a job with one has 7.
    """
    asked = spec.quantization
    if asked is None or asked.weight_bits is not None:
        return spec
    named = TargetName.parse(spec.target or "").registered if spec.target else None
    target = measuring.target(session, named) if named is not None else None
    if target is not None:
        bits = stated_bits(target)
    else:
        known = [worker.facts.get("weight_bits") for worker in nodes.online(session, QUEUES[RUN_JOB])]
        bits = 8 if known and all(one == 8 for one in known) else SAFE
    return spec.model_copy(update={"quantization": asked.model_copy(update={"weight_bits": bits})})


def stated_bits(target: Target) -> int:
    """Bits of weights that a registered target multiplies exactly, as far as it has said."""
    return int(target.facts.get("weight_bits", SAFE)) if target.kind == "machine" else SAFE


def reopened(copy: Mapping[str, Any], draft: Mapping[str, Any], edits: Mapping[str, Any]) -> Mapping[str, Any]:
    """A copy of a job without the bits that followed from another target; those that the edits state stay.

    Args:
        copy: the draft with the edits.
    """
    asked, stated = copy.get("quantization"), edits.get("quantization")
    if not isinstance(asked, Mapping) or (isinstance(stated, Mapping) and "weight_bits" in stated):
        return copy
    return copy if _targets(copy) == _targets(draft) else {**copy, "quantization": {**asked, "weight_bits": None}}


def _targets(job: Mapping[str, Any]) -> list[Any]:
    every = [one for part in ("objectives", "constraints") for one in job.get(part) or ()]
    return [one.get("target") for one in every if isinstance(one, Mapping)]
