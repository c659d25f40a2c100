"""NSGA-II (Deb et al. 2002) through pymoo, on the genes of a search space."""

from __future__ import annotations

from typing import Any

from pymoo.algorithms.moo.nsga2 import NSGA2

from search.genetic import GeneticSearch
from search.problem import Problem


class NSGA2Search(GeneticSearch):
    """Genetic search with non-dominated sorting and crowding distance.

    Args:
        population: architectures kept, and asked for in a batch.
        mutation: probability that a gene changes; None: one over the number of choices.
    """

    def __init__(
        self, problem: Problem, *, seed: int, evaluations: int, population: int = 50, mutation: float | None = None
    ) -> None:
        super().__init__(problem, seed=seed, evaluations=evaluations, population=population, mutation=mutation)

    def _make(self) -> Any:
        return NSGA2(pop_size=self._population, **self.operators())


ALGORITHM = NSGA2Search
