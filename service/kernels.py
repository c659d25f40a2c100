"""What kernels of a job's target compute exactly, as far as machines have said so."""

from __future__ import annotations

from sqlalchemy.orm import Session

from job.spec import JobSpec
from predictors.targets import TargetName
from service.queue import QUEUES, RUN_JOB
from service.store import measuring, nodes

# Where nothing is known: right on every machine.
SAFE = 7


def with_weight_bits(session: Session, spec: JobSpec) -> JobSpec:
    """The job with the bits of its weights in bytes; what it says itself stays.

    A registered machine has said what it measured. "This machine" is any worker, and a table of latencies is none, so
    for both the least of what the workers that are there have measured counts.
    """
    asked = spec.quantization
    if asked is None or asked.weight_bits is not None:
        return spec
    named = TargetName.parse(spec.target or "").registered if spec.target else None
    target = measuring.target(session, named) if named is not None else None
    if target is not None and target.kind == "machine":
        known = [target.facts.get("weight_bits")]
    else:
        known = [worker.facts.get("weight_bits") for worker in nodes.online(session, QUEUES[RUN_JOB])]
    bits = 8 if known and all(one == 8 for one in known) else SAFE
    return spec.model_copy(update={"quantization": asked.model_copy(update={"weight_bits": bits})})
