"""Profile: what a space costs and whether limits can be met, before anything is trained."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from service.api.deps import READ
from service.profile import ProfileOut, ProfileSpec, make_profile

router = APIRouter(prefix="/v1/profile", tags=["profile"])

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


@router.post("", dependencies=[READ])
def profile(spec: Spec) -> ProfileOut:
    """Smallest, median and largest cost of every exact metric, the number of distinct networks, and whether the
    limits can be met: the share of networks that do, or the one that comes nearest. Stores nothing."""
    return make_profile(spec)
