"""NSGA-III (Deb and Jain 2014) through pymoo: for three and four objectives."""

from __future__ import annotations

from math import comb
from typing import Any

from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.util.ref_dirs import get_reference_directions

from search.genetic import GeneticSearch


class NSGA3Search(GeneticSearch):
    """Genetic search whose survivors are spread along reference directions (Das and Dennis 1998).

    The directions are as fine as the population has members for.
    """

    def _make(self) -> Any:
        count = len(self.objectives)
        partitions = 1
        while count > 1 and comb(partitions + count, count - 1) <= self.options.population:
            partitions += 1
        directions = get_reference_directions("das-dennis", count, n_partitions=partitions)
        return NSGA3(ref_dirs=directions, pop_size=self.options.population, **self.operators())


ALGORITHM = NSGA3Search
