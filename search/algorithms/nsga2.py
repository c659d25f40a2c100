"""NSGA-II (Deb et al. 2002) through pymoo, on the genes of a search space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.sampling import Sampling
from pymoo.core.termination import NoTermination

from search.algorithm import SearchAlgorithm
from search.evaluation import Evaluation
from search.objectives import Objective
from search_space.architecture import Architecture
from search_space.space import SearchSpace

# Cost given to a score that is not a number: worse than any real one, and finite for pymoo's sorting.
NOT_A_NUMBER = 1e30


class NSGA2Search(SearchAlgorithm):
    """Genetic search with non-dominated sorting and crowding distance.

    The first population holds the smallest and the largest architecture and random ones. Children come
    from uniform crossover and from mutation, where every gene takes another option with the stated
    probability. A child equal to any architecture asked before is bred again, so no evaluation of the
    budget is spent twice. Limits are constraints: infeasible architectures rank by their violation.

    Args:
        population: architectures kept, and asked for in a batch.
        mutation: probability that a gene changes; None: one over the number of choices.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        *,
        seed: int,
        evaluations: int,
        population: int = 50,
        mutation: float | None = None,
    ) -> None:
        super().__init__(space, objectives, seed=seed, evaluations=evaluations)
        if population < 2:
            raise ValueError(f"Got a population of {population}; it must be at least 2.")
        if mutation is not None and not 0 < mutation <= 1:
            raise ValueError(f"Got a mutation probability of {mutation}; it must be above 0 and at most 1.")
        self._asked: set[str] = set()
        self._pending: tuple[Population, list[Architecture]] | None = None
        probability = mutation if mutation is not None else 1 / len(space.choices)
        self._nsga2 = NSGA2(
            pop_size=population,
            sampling=_Sampling(space),
            crossover=_UniformCrossover(space),
            mutation=_GeneMutation(space, probability),
            eliminate_duplicates=_Unasked(space, self._asked),
            seed=seed,
        )
        self._nsga2.setup(_genes_problem(space, self.objectives), termination=NoTermination())

    def ask(self) -> list[Architecture]:
        assert self._pending is None, "the last batch was not told"
        room = self.evaluations - len(self._asked)
        if room <= 0:
            return []
        individuals = self._nsga2.ask()
        if individuals is None or len(individuals) == 0:
            return []
        individuals = individuals[:room]
        architectures = [self.space.from_genes(genes) for genes in individuals.get("X")]
        self._asked.update(architecture.id for architecture in architectures)
        self._pending = individuals, architectures
        return architectures

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        assert self._pending is not None, "nothing was asked"
        individuals, architectures = self._pending
        self._pending = None
        by_id = {evaluation.architecture.id: evaluation.metrics for evaluation in evaluations}
        rows = [by_id[architecture.id] for architecture in architectures]
        costs = [[o.cost(row[o.metric]) for o in self.objectives] for row in rows]
        individuals.set("F", np.nan_to_num(np.array(costs), nan=NOT_A_NUMBER))
        limited = [o for o in self.objectives if o.limit is not None]
        if limited:
            excess = [[o.violation(row[o.metric]) for o in limited] for row in rows]
            individuals.set("G", np.nan_to_num(np.array(excess), posinf=NOT_A_NUMBER))
        for individual in individuals:
            individual.evaluated.update({"F", "G"})
        self._nsga2.tell(infills=individuals)


def _genes_problem(space: SearchSpace, objectives: Sequence[Objective]) -> Problem:
    """The space as pymoo sees it: integer genes; scores come from outside through tell."""
    limits = sum(objective.limit is not None for objective in objectives)
    return Problem(
        n_var=len(space.choices),
        n_obj=len(objectives),
        n_ieq_constr=limits,
        xl=0,
        xu=space.option_counts - 1,
        vtype=int,
    )


class _Sampling(Sampling):  # type: ignore[misc]
    """Smallest, largest, then random architectures, all different as far as the space allows."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self._space = space

    def _do(self, problem: Problem, n_samples: int, *, random_state: np.random.Generator, **_: Any) -> np.ndarray:
        seeds = [self._space.smallest(), self._space.largest()]
        drawn = {a.id: a for a in seeds}
        for _attempt in range(100 * n_samples):
            if len(drawn) == n_samples:
                break
            architecture = self._space.sample(random_state)
            drawn.setdefault(architecture.id, architecture)
        return np.array([a.genes for a in drawn.values()])[:n_samples]


class _UniformCrossover(Crossover):  # type: ignore[misc]
    """Two parents give two children, each gene from either with probability one half."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(n_parents=2, n_offsprings=2, prob=0.9)
        self._space = space

    def _do(self, problem: Problem, X: np.ndarray, *, random_state: np.random.Generator, **_: Any) -> np.ndarray:
        swap = random_state.random(X.shape[1:]) < 0.5
        return np.stack([np.where(swap, X[1], X[0]), np.where(swap, X[0], X[1])])


class _GeneMutation(Mutation):  # type: ignore[misc]
    """`SearchSpace.mutate` with a fixed probability per gene."""

    def __init__(self, space: SearchSpace, probability: float) -> None:
        super().__init__(prob=1.0)
        self._space, self._probability = space, probability

    def _do(self, problem: Problem, X: np.ndarray, *, random_state: np.random.Generator, **_: Any) -> np.ndarray:
        space = self._space
        children = [space.mutate(space.from_genes(genes), random_state, self._probability) for genes in X]
        return np.array([child.genes for child in children])


class _Unasked(DuplicateElimination):  # type: ignore[misc]
    """Drops individuals whose network equals another's or was asked for before."""

    def __init__(self, space: SearchSpace, asked: set[str]) -> None:
        super().__init__()
        self._space, self._asked = space, asked

    def _ids(self, population: Population) -> list[str]:
        return [self._space.from_genes(genes).id for genes in population.get("X")]

    def _do(self, pop: Population, other: Population | None, is_duplicate: np.ndarray) -> np.ndarray:
        seen = set(self._asked) | (set(self._ids(other)) if other is not None else set())
        for i, architecture_id in enumerate(self._ids(pop)):
            is_duplicate[i] = architecture_id in seen
            seen.add(architecture_id)
        return is_duplicate


ALGORITHM = NSGA2Search
