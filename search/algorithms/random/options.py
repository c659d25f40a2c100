"""Options of the search algorithm `random`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from plugins.options import Options
from search.options import Batch


class RandomOptions(Options):
    """Options of the search algorithm `random`."""

    batch: Batch = 10
    over: Literal["genes", "params", "macs"] = Field(
        default="genes",
        description="What is drawn uniformly: genes, or bins of a cost, which show small and large networks alike.",
    )


OPTIONS = RandomOptions
