"""Options that several search algorithms have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from plugins.options import Options

Batch = Annotated[int, Field(ge=1, le=10_000, description="Architectures asked for at a time.")]


class GeneticOptions(Options):
    """Options of genetic searches."""

    population: Annotated[int, Field(ge=2, le=10_000, description="Architectures kept, and in a batch.")] = 50
    mutation: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="Probability that a gene changes; null: one over the number of choices."
    )


class OptunaOptions(Options):
    """Options of optuna's samplers, which learn of none of a batch before all of it is told."""

    batch: Batch = 1
    startup: Annotated[int, Field(ge=1, le=10_000, description="Random architectures before it learns.")] = 10
