"""Options of the search algorithm `nsga3`."""

from __future__ import annotations

from search.options import GeneticOptions


class NSGA3Options(GeneticOptions):
    """Options of the search algorithm `nsga3`."""


OPTIONS = NSGA3Options
