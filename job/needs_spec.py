"""What a job needs of the worker that runs it, and the words under which people find it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictInt, field_validator

from job.parts import Part

# A word such as `nightly` or `team=vision`.
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=/:-]{0,62}$")]
Labels = Annotated[tuple[Label, ...], Field(max_length=32)]
Priority = Annotated[StrictInt, Field(ge=-100, le=100)]
MAX_NOTES = 10_000


def once(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels, if each is there once.

    Raises:
        ValueError: one is there twice.
    """
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(f"Label {twice[0]!r} is listed twice; list each label once.")
    return labels


class NeedsSpec(Part):
    """What the worker of a job must have; a job that needs nothing runs anywhere."""

    gpus: Annotated[StrictInt, Field(ge=0, le=1024, description="GPUs that the worker sees.")] = 0
    memory_gb: Annotated[
        float, Field(ge=0, le=1_000_000, description="Memory of the worker's machine, in units of 10^9 bytes.")
    ] = 0.0
    labels: Annotated[Labels, Field(description="Labels that the worker was started with (WINNOW_WORKER_LABELS).")] = ()

    @field_validator("labels")
    @classmethod
    def _once(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        return once(labels)
