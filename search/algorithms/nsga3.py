"""NSGA-III (Deb and Jain 2014) through pymoo: for three and four objectives."""

from __future__ import annotations

from math import comb
from typing import Any

from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.util.ref_dirs import get_reference_directions

from search.genetic import GeneticSearch
from search.problem import Problem


class NSGA3Search(GeneticSearch):
    """Genetic search whose survivors are spread along reference directions (Das and Dennis 1998).

    The directions are as fine as the population has members for.

    Args:
        population: architectures kept, and asked for in a batch.
        mutation: probability that a gene changes; None: one over the number of choices.
    """

    def __init__(
        self, problem: Problem, *, seed: int, evaluations: int, population: int = 50, mutation: float | None = None
    ) -> None:
        super().__init__(problem, seed=seed, evaluations=evaluations, population=population, mutation=mutation)

    def _make(self) -> Any:
        count = len(self.objectives)
        partitions = 1
        while count > 1 and comb(partitions + count, count - 1) <= self._population:
            partitions += 1
        directions = get_reference_directions("das-dennis", count, n_partitions=partitions)
        return NSGA3(ref_dirs=directions, pop_size=self._population, **self.operators())


ALGORITHM = NSGA3Search
