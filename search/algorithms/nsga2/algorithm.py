"""NSGA-II (Deb et al. 2002) through pymoo, on the genes of a search space."""

from __future__ import annotations

from typing import Any

from pymoo.algorithms.moo.nsga2 import NSGA2

from search.genetic import GeneticSearch


class NSGA2Search(GeneticSearch):
    """Genetic search with non-dominated sorting and crowding distance."""

    def _make(self) -> Any:
        return NSGA2(pop_size=self.options.population, **self.operators())


ALGORITHM = NSGA2Search
