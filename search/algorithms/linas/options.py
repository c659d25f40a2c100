"""Options of the search algorithm `linas`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from plugins.options import Options


class LINASOptions(Options):
    """Options of the search algorithm `linas`."""

    population: Annotated[int, Field(ge=2, le=1_000, description="Architectures measured in a batch.")] = 50
    inner_evaluations: Annotated[
        int, Field(ge=1_000, le=1_000_000, description="Predictions that each evolution may make.")
    ] = 20_000
    mutation: Annotated[float, Field(gt=0, le=1, description="Probability that a gene changes.")] = 0.02


OPTIONS = LINASOptions
