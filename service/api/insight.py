"""What the networks of a job's front have in common."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from service import jobs
from service.api.deps import READ, SessionDep
from service.api.schemas import Answer

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])


class LayerInsightOut(Answer):
    """One layer among the networks of a front."""

    slot: str = Field(description="Position of the layer in the supernet.")
    kind: str = Field(description="Kind of the layer.")
    kept: float = Field(description="Share of the networks that have it.")
    size: float | None = Field(
        description="Mean parameters of the layer in those networks, as a share of its largest form; null: none has it."
    )


class ChoiceInsightOut(Answer):
    """One choice among the networks of a front."""

    name: str = Field(description="Name of the choice.")
    options: list[Any] = Field(description="Options of the choice, smallest first.")
    shares: list[float] = Field(
        description="Share of the networks with each option; the other networks lack the choice."
    )


class InsightOut(Answer):
    """How often each layer is kept, and how wide, among the networks of a front."""

    job_id: str = Field(description="Id of the job.")
    networks: int = Field(description="Networks of the front.")
    final: bool = Field(description="Whether the front is final.")
    layers: list[LayerInsightOut] = Field(description="Layers in forward order; empty for spaces without layers.")
    choices: list[ChoiceInsightOut] = Field(description="Choices of the space.")


@router.get("/insight", dependencies=[READ])
def insight(job_id: str, session: SessionDep) -> InsightOut:
    """Read which layers the networks of a front keep.

    The answer has the share of the front's networks that keep each layer, and how wide. While the search runs, it is
    the front so far.
    """
    # Imported here because the API should start without what only this route needs.
    from job.versions import read_job
    from search.insight import choices_of, layers_of
    from service.fronts import front_of, stored_architecture

    job = jobs.get(session, job_id)
    space = read_job(job.spec).space()
    front = front_of(session, job)
    networks = [stored_architecture(space, row) for row, _ in front.points]
    return InsightOut(
        job_id=job.id,
        networks=len(networks),
        final=front.final,
        layers=[LayerInsightOut.model_validate(layer) for layer in layers_of(space, networks)],
        choices=[ChoiceInsightOut.model_validate(choice) for choice in choices_of(space, networks)],
    )
