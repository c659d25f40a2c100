"""Profile: what a space costs and whether limits can be met, before anything is trained."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from job.spec import JobSpec
from service import jobs
from service.api.deps import READ, IdentityDep, SessionDep
from service.auth.ownership import see
from service.estimate import EstimateOut, estimate
from service.profile import ProfileOut, ProfileSpec, make_profile

router = APIRouter(prefix="/v1", tags=["profile"])

Spec = Annotated[
    ProfileSpec,
    Body(
        openapi_examples={
            "a space": {
                "summary": "A preset",
                "value": {"supernet": {"family": "mobilenet", "preset": "digits"}},
            },
            "limits": {
                "summary": "A preset, and limits",
                "value": {
                    "supernet": {"family": "mobilenet", "preset": "digits"},
                    "objectives": [{"metric": "macs", "limit": 100000}, {"metric": "size_bytes", "limit": 40000}],
                    "samples": 2000,
                },
            },
            "a job": {
                "summary": "A whole job",
                "value": {
                    "recipe": "bignas",
                    "objectives": [{"metric": "accuracy"}, {"metric": "macs", "limit": 9000}],
                },
            },
        }
    ),
]


@router.post("/profile", dependencies=[READ])
def profile(spec: Spec) -> ProfileOut:
    """Profile a space.

    The answer has the smallest, median and largest cost of every exact metric, the number of distinct networks, and
    whether the limits can be met: the share of networks that do, or the one that comes nearest. Stores nothing.
    """
    return make_profile(spec)


@router.post("/estimate", dependencies=[READ])
def estimate_job(spec: JobSpec, session: SessionDep, who: IdentityDep) -> EstimateOut:
    """Estimate how long a job takes and what it stores.

    The estimate goes by what earlier jobs took here. Before any has finished, Winnow counts the work and times this
    machine for a moment. Stores nothing.
    """
    if spec.supernet.reuse is not None:
        see(session, who, "supernet_id", spec.supernet.reuse)
    return estimate(session, jobs.reusing(session, spec), None, count=True)
