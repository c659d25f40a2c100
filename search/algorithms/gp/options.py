"""Options of the search algorithm `gp`."""

from __future__ import annotations

from search.options import OptunaOptions


class GPOptions(OptunaOptions):
    """Options of the search algorithm `gp`."""


OPTIONS = GPOptions
