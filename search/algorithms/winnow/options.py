"""Options of the search algorithm `winnow`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from plugins.options import Options
from search.options import Batch


class WinnowOptions(Options):
    """Options of the search algorithm `winnow`."""

    batch: Batch = 8
    initial: Annotated[
        int, Field(ge=1, le=10_000, description="Random architectures that are asked before the model learns anything.")
    ] = 10


OPTIONS = WinnowOptions
