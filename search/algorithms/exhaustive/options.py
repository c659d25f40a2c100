"""Options of the search algorithm `exhaustive`."""

from __future__ import annotations

from plugins.options import Options
from search.options import Batch


class ExhaustiveOptions(Options):
    """Options of the search algorithm `exhaustive`."""

    batch: Batch = 50


OPTIONS = ExhaustiveOptions
