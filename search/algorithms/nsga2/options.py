"""Options of the search algorithm `nsga2`."""

from __future__ import annotations

from search.options import GeneticOptions


class NSGA2Options(GeneticOptions):
    """Options of the search algorithm `nsga2`."""


OPTIONS = NSGA2Options
