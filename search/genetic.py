"""Genetic search through pymoo: what NSGA-II and NSGA-III share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem as PymooProblem
from pymoo.core.sampling import Sampling
from pymoo.core.termination import NoTermination

from search.algorithm import SearchAlgorithm
from search.evaluation import Evaluation
from search.objectives import limits_of
from search.options import GeneticOptions
from search.pareto import pareto_front
from search.problem import Problem
from search_space.architecture import Architecture
from search_space.space import SearchSpace

# Cost given to a score that is not a number: worse than any real one, and finite for pymoo's sorting.
NOT_A_NUMBER = 1e30


class GeneticSearch(SearchAlgorithm[GeneticOptions]):
    """A population that breeds; which of it survives is the business of a pymoo algorithm.

    The first population holds the smallest and the largest architecture, the seeds, and random ones; with a
    warm start up to half of it are stored evaluations, those on the front first. Children come from uniform
    crossover and from mutation, where every gene takes another option with the stated probability. A child
    equal to any architecture known before is bred again, so no evaluation of the budget is spent twice.
    Limits are constraints: infeasible architectures rank by their violation.
    """

    def __init__(self, problem: Problem, *, seed: int, evaluations: int, options: GeneticOptions) -> None:
        super().__init__(problem, seed=seed, evaluations=evaluations, options=options)
        self._mutation = options.mutation if options.mutation is not None else 1 / len(self.space.choices)
        self._barred: set[str] = set()
        self._stored = self._parents()
        self._bred: Population | None = None
        self._pymoo = self._make()
        self._pymoo.setup(self._pymoo_problem(), termination=NoTermination())

    def _make(self) -> Any:
        """The pymoo algorithm, with `self.operators()`."""
        raise NotImplementedError

    def operators(self) -> dict[str, Any]:
        """Keyword arguments that every genetic algorithm of pymoo takes."""
        space = self.space
        first = [space.smallest(), space.largest(), *self.problem.seeds]
        known = {evaluation.architecture.id for evaluation in self.problem.warm_start}
        stored = [evaluation.architecture for evaluation in self._stored.values()]
        return {
            "sampling": _Sampling(space, stored, first, known),
            "crossover": UniformCrossover(space),
            "mutation": GeneMutation(space, self._mutation),
            "eliminate_duplicates": _Unknown(space, self._barred),
            "seed": self.seed,
        }

    def _parents(self) -> dict[str, Evaluation]:
        """Stored evaluations of the first population, by architecture id."""
        stored, problem = self.problem.warm_start, self.problem
        best = pareto_front(stored, problem.objectives, problem.constraints)
        ordered = {evaluation.architecture.id: evaluation for evaluation in (*best, *stored)}
        return dict(list(ordered.items())[: self.options.population // 2])

    def _pymoo_problem(self) -> PymooProblem:
        """The space as pymoo sees it: integer genes; scores come from outside through tell."""
        return PymooProblem(
            n_var=len(self.space.choices),
            n_obj=len(self.objectives),
            n_ieq_constr=len(limits_of(self.objectives, self.problem.constraints)),
            xl=0,
            xu=self.space.option_counts - 1,
            vtype=int,
        )

    def _propose(self, room: int) -> list[Architecture]:
        individuals = self._pymoo.ask()
        if individuals is None or len(individuals) == 0:
            return []
        architectures = [self.space.from_genes(genes) for genes in individuals.get("X")]
        fresh = [i for i, architecture in enumerate(architectures) if architecture.id not in self._known]
        kept = [i for i in range(len(architectures)) if i not in fresh[room:]]
        self._bred = individuals[kept]
        self._barred.update(self._known, (architectures[i].id for i in kept))
        return [architectures[i] for i in fresh[:room]]

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        individuals = self._bred
        assert individuals is not None
        scored = self._stored | {evaluation.architecture.id: evaluation for evaluation in evaluations}
        rows = [scored[self.space.from_genes(genes).id] for genes in individuals.get("X")]
        individuals.set("F", np.nan_to_num(self._costs(rows), nan=NOT_A_NUMBER))
        violations = self._violations(rows)
        if violations.shape[1]:
            individuals.set("G", np.nan_to_num(violations, posinf=NOT_A_NUMBER))
        for individual in individuals:
            individual.evaluated.update({"F", "G"})
        self._pymoo.tell(infills=individuals)


class _Sampling(Sampling):  # type: ignore[misc]
    """Stored architectures, then those that must be there, then random ones, all different if the space allows.

    Args:
        known: ids that a warm start has scored; none of them is drawn besides `stored`.
    """

    def __init__(
        self, space: SearchSpace, stored: list[Architecture], first: list[Architecture], known: set[str]
    ) -> None:
        super().__init__()
        self._space, self._stored, self._first, self._known = space, stored, first, known

    def _do(self, problem: PymooProblem, n_samples: int, *, random_state: np.random.Generator, **_: Any) -> np.ndarray:
        drawn = {a.id: a for a in self._stored}
        drawn.update({a.id: a for a in self._first if a.id not in self._known})
        for _attempt in range(100 * n_samples):
            if len(drawn) >= n_samples:
                break
            architecture = self._space.sample(random_state)
            if architecture.id not in self._known:
                drawn.setdefault(architecture.id, architecture)
        return np.array([a.genes for a in drawn.values()])[:n_samples]


class UniformCrossover(Crossover):  # type: ignore[misc]
    """Two parents give two children, each gene from either with probability one half."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(n_parents=2, n_offsprings=2, prob=0.9)
        self._space = space

    def _do(self, problem: PymooProblem, X: np.ndarray, *, random_state: np.random.Generator, **_: Any) -> np.ndarray:
        swap = random_state.random(X.shape[1:]) < 0.5
        return np.stack([np.where(swap, X[1], X[0]), np.where(swap, X[0], X[1])])


class GeneMutation(Mutation):  # type: ignore[misc]
    """`SearchSpace.mutate` with a fixed probability per gene."""

    def __init__(self, space: SearchSpace, probability: float) -> None:
        super().__init__(prob=1.0)
        self._space, self._probability = space, probability

    def _do(self, problem: PymooProblem, X: np.ndarray, *, random_state: np.random.Generator, **_: Any) -> np.ndarray:
        space = self._space
        children = [space.mutate(space.from_genes(genes), random_state, self._probability) for genes in X]
        return np.array([child.genes for child in children])


class _Unknown(DuplicateElimination):  # type: ignore[misc]
    """Drops individuals whose network equals another's or is barred."""

    def __init__(self, space: SearchSpace, barred: set[str]) -> None:
        super().__init__()
        self._space, self._barred = space, barred

    def _ids(self, population: Population) -> list[str]:
        return [self._space.from_genes(genes).id for genes in population.get("X")]

    def _do(self, pop: Population, other: Population | None, is_duplicate: np.ndarray) -> np.ndarray:
        seen = set(self._barred) | (set(self._ids(other)) if other is not None else set())
        for i, architecture_id in enumerate(self._ids(pop)):
            is_duplicate[i] = architecture_id in seen
            seen.add(architecture_id)
        return is_duplicate
