"""Options of the search algorithm `hill_climb`: read by the API, so nothing heavy is imported here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from winnow.plugins import Options


class HillClimbOptions(Options):
    """Options of the search algorithm `hill_climb`."""

    batch: Annotated[int, Field(ge=1, le=1_000, description="Architectures asked for at a time.")] = 10
    neighbours: Annotated[
        int, Field(ge=0, le=1_000, description="Neighbours of the front drawn for a batch; random networks fill it.")
    ] = 20


OPTIONS = HillClimbOptions
