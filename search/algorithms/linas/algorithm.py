"""LINAS (Cummings et al. 2022, arXiv 2205.10358, algorithm 1): measure, fit predictors, evolve on them, repeat.

The published loop, without the faults of its published code (DyNAS-T): what was measured is not proposed again, and
genes that a network does not depend on are masked out of the features. A mutation rate is one per gene, the order of
objectives is that of the job, and a warm start is used. The grids of the predictors' search span the published ranges
in ten geometric steps instead of a hundred equal ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2, RankAndCrowding
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem as PymooProblem
from pymoo.core.termination import NoTermination
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.svm import SVR
from threadpoolctl import threadpool_limits

from search.algorithm import SearchAlgorithm
from search.algorithms.linas.options import LINASOptions
from search.candidates import Breeder, TakenGenomes
from search.evaluation import Evaluation
from search.objectives import Constraint, Objective
from search.problem import Problem, exact_values
from search_space.architecture import Architecture
from search_space.encoding import all_genes, canonical_genes, gene_matrix, one_hot
from search_space.space import SearchSpace

FOLDS = 5
# Unmeasured genomes of the last generations, of which the next batch is chosen.
ARCHIVE = 2000
# Spaces up to this size are listed when drawing finds nothing new.
LISTED = 100_000
# Crossover of 2205.10358, table 5.
CROSSOVER = 0.9


class LINASSearch(SearchAlgorithm[LINASOptions]):
    """Lightweight iterative search: an evolution on predictors proposes each batch."""

    def __init__(self, problem: Problem, *, seed: int, evaluations: int, options: LINASOptions) -> None:
        super().__init__(problem, seed=seed, evaluations=evaluations, options=options)
        self._rng = np.random.default_rng(seed)
        self._breeder = Breeder(self.space, self._rng)
        self._seen = TakenGenomes()
        self._evaluated: list[Evaluation] = []
        self._tracked: list[Objective | Constraint] = [*self.objectives, *problem.constraints]
        if problem.warm_start:
            self._learn(problem.warm_start)

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        self._evaluated.extend(evaluations)
        self._seen.add(gene_matrix(self.space, [evaluation.architecture for evaluation in evaluations]))

    def _propose(self, room: int) -> list[Architecture]:
        count = min(self.options.population, room)
        seeds = self._unknown(self.problem.seeds) if self._num_asked == 0 else []
        batch = {architecture.id: architecture for architecture in seeds[:room]}
        taken = TakenGenomes()
        taken.add(gene_matrix(self.space, list(batch.values())))
        rows = np.array([[t.cost(e.metrics[t.metric]) for t in self._tracked] for e in self._evaluated], dtype=float)
        usable = np.isfinite(rows).all(axis=1) if len(rows) else np.zeros(0, dtype=bool)
        if usable.sum() >= FOLDS and (self._num_asked or self.problem.warm_start):
            with threadpool_limits(1):
                best = taken.fresh(self._evolved(np.asarray(usable), rows, count))
        else:
            best = np.zeros((0, len(self.space.choices)), dtype=np.int64)
        for genes in (*best, *self._random(count, best)):
            if len(batch) >= max(count, len(seeds[:room])):
                break
            architecture = self.space.from_genes(genes)
            if architecture.id not in self._known:
                batch.setdefault(architecture.id, architecture)
        return list(batch.values())

    def _random(self, count: int, best: np.ndarray) -> np.ndarray:
        """Random genomes in case the evolution found too few new ones."""
        if len(best) >= count:
            return best[:0]
        drawn = self._seen.fresh(self._breeder.random(20 * count))
        if len(drawn) < count + len(best) and self.space.size() <= LISTED:
            drawn = self._seen.fresh(all_genes(self.space))
        shuffled: np.ndarray = drawn[self._breeder.order(len(drawn))]
        return shuffled

    # --- predictors and the evolution on them -------------------------------------------------------

    def _evolved(self, usable: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
        """Unmeasured genomes that NSGA-II on the predictors likes best, shape (up to count, num_choices)."""
        genes = gene_matrix(self.space, [e.architecture for e, use in zip(self._evaluated, usable, strict=True) if use])
        features = one_hot(self.space, genes)
        models = [
            None if tracked.metric in self.problem.exact_costs else _Predictor(features, costs)
            for tracked, costs in zip(self._tracked, rows[usable].T, strict=True)
        ]
        limited = [i for i, tracked in enumerate(self._tracked) if tracked.limit is not None]
        problem = PymooProblem(
            n_var=len(self.space.choices),
            n_obj=len(self.objectives),
            n_ieq_constr=len(limited),
            xl=0,
            xu=self.space.option_counts - 1,
            vtype=int,
        )
        evolution = NSGA2(
            pop_size=self.options.population,
            sampling=self._breeder.random(self.options.population),
            crossover=_Uniform(),
            mutation=_PerGene(self.space, self.options.mutation),
            seed=int(self._rng.integers(2**31)),
        )
        evolution.setup(problem, termination=NoTermination())
        archive: list[Population] = []
        for _generation in range(max(1, self.options.inner_evaluations // self.options.population)):
            kids = evolution.ask()
            if kids is None or len(kids) == 0:
                break
            kids.set("X", canonical_genes(self.space, np.asarray(kids.get("X"), dtype=np.int64)))
            self._score(kids, models, limited)
            evolution.tell(infills=kids)
            archive.append(evolution.pop)
            archive = archive[-max(1, ARCHIVE // self.options.population) :]
        return self._best_unmeasured(problem, archive, count)

    def _score(self, individuals: Population, models: list[_Predictor | None], limited: list[int]) -> None:
        genes = individuals.get("X")
        features = one_hot(self.space, genes)
        columns = []
        for tracked, model in zip(self._tracked, models, strict=True):
            if model is not None:
                columns.append(model.predict(features))
            else:
                cost = self.problem.exact_costs[tracked.metric]
                values = exact_values(cost, [self.space.from_genes(row) for row in genes])
                columns.append(np.array([tracked.cost(float(value)) for value in values]))
        individuals.set("F", np.stack(columns[: len(self.objectives)], axis=1))
        if limited:
            bounds = [(i, limit) for i in limited if (limit := self._tracked[i].limit) is not None]
            excess = [(columns[i] - self._tracked[i].cost(limit)) / max(abs(limit), 1e-12) for i, limit in bounds]
            individuals.set("G", np.stack(excess, axis=1))
        for individual in individuals:
            individual.evaluated.update({"F", "G"})

    def _best_unmeasured(self, problem: PymooProblem, archive: list[Population], count: int) -> np.ndarray:
        everyone = Population.merge(*archive) if len(archive) > 1 else archive[0]
        genes = np.asarray(everyone.get("X"), dtype=np.int64)
        _, first = np.unique(genes, axis=0, return_index=True)
        fresh = {row.tobytes() for row in self._seen.fresh(genes)}
        kept = [int(i) for i in np.sort(first) if genes[i].tobytes() in fresh]
        if not kept:
            return genes[:0]
        survivors = RankAndCrowding().do(
            problem, everyone[kept], n_survive=min(count, len(kept)), random_state=self._rng
        )
        return np.asarray(survivors.get("X"), dtype=np.int64)


class _Predictor:
    """Ridge regression or an RBF support vector machine, whichever has the smaller error in 5-fold validation.

    Args:
        features: masked one-hot, shape (num_networks, num_columns).
        costs: shape (num_networks,), finite.
    """

    def __init__(self, features: np.ndarray, costs: np.ndarray) -> None:
        largest = float(np.abs(costs).max())
        # Labels of one or two digits before the point, as published, so that one grid fits all metrics.
        self._unit = 10 ** (np.floor(np.log10(largest)) - 1) if largest > 0 else 1.0
        grids = (
            (Ridge(), {"alpha": np.geomspace(0.1, 10, 10)}),
            (SVR(kernel="rbf", gamma="auto", epsilon=0.0), {"C": np.geomspace(1, 100, 10)}),
        )
        searches = [
            GridSearchCV(model, grid, scoring="neg_mean_absolute_percentage_error", cv=KFold(FOLDS)).fit(
                features, costs / self._unit
            )
            for model, grid in grids
        ]
        self._model = max(searches, key=lambda search: search.best_score_).best_estimator_

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Costs, shape (num_networks,)."""
        predicted: np.ndarray = self._model.predict(features) * self._unit
        return predicted


class _Uniform(Crossover):  # type: ignore[misc]
    """Each gene from either parent with probability one half."""

    def __init__(self) -> None:
        super().__init__(n_parents=2, n_offsprings=2, prob=CROSSOVER)

    def _do(self, problem: Any, X: np.ndarray, *, random_state: np.random.Generator, **_: Any) -> np.ndarray:
        swap = random_state.random(X.shape[1:]) < 0.5
        return np.stack([np.where(swap, X[1], X[0]), np.where(swap, X[0], X[1])])


class _PerGene(Mutation):  # type: ignore[misc]
    """Every gene takes another option with a fixed probability."""

    def __init__(self, space: SearchSpace, probability: float) -> None:
        super().__init__(prob=1.0)
        self._space, self._probability = space, probability

    def _do(self, problem: Any, X: np.ndarray, *, random_state: np.random.Generator, **_: Any) -> np.ndarray:
        counts = self._space.option_counts
        genes = X.astype(np.int64)
        moves = random_state.random(genes.shape) < self._probability
        shift = random_state.integers(1, np.maximum(counts, 2), size=genes.shape)
        return canonical_genes(self._space, np.where(moves, (genes + shift) % counts, genes))


ALGORITHM = LINASSearch
