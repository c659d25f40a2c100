"""Options of the search algorithm `tpe`."""

from __future__ import annotations

from search.options import OptunaOptions


class TPEOptions(OptunaOptions):
    """Options of the search algorithm `tpe`."""


OPTIONS = TPEOptions
