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
        default="genes", description="What is uniform; over bins of a cost small and large networks are both seen."
    )


OPTIONS = RandomOptions
