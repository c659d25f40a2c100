"""Search algorithms, one file each; each file names its class `ALGORITHM`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from plugins.kinds import ALGORITHMS
from search.algorithm import SearchAlgorithm
from search.evaluation import Evaluation
from search.objectives import Constraint, Objective
from search.problem import ExactCost, Problem
from search_space.architecture import Architecture
from search_space.space import SearchSpace


def make_algorithm(
    name: str,
    space: SearchSpace,
    objectives: Sequence[Objective],
    *,
    seed: int = 0,
    evaluations: int = 250,
    constraints: Sequence[Constraint] = (),
    exact_costs: Mapping[str, ExactCost] | None = None,
    warm_start: Sequence[Evaluation] = (),
    seeds: Sequence[Architecture] = (),
    **options: int | float | str | None,
) -> SearchAlgorithm:
    """A search algorithm by the name of its file.

    Args:
        constraints: limits on metrics that are not objectives.
        exact_costs: metric -> function that gives it exactly, at once; such a metric is never learned.
        warm_start: stored evaluations of the same supernet; learned from, not asked again, not counted.
        seeds: architectures to ask for first.
        options: those of the algorithm, see `option_names`.

    Raises:
        UnknownPluginError: no algorithm of that name.
        ValueError: an option that the algorithm does not have, or an impossible value.
    """
    problem = Problem(
        space, tuple(objectives), tuple(constraints), dict(exact_costs or {}), tuple(warm_start), tuple(seeds)
    )
    return algorithm_for(problem, name, seed=seed, evaluations=evaluations, options=options)


def algorithm_for(
    problem: Problem, name: str, *, seed: int, evaluations: int, options: Mapping[str, int | float | str | None]
) -> SearchAlgorithm:
    """`make_algorithm` for a problem that is made already."""
    algorithm = ALGORITHMS.load(name).ALGORITHM
    known = option_names(algorithm)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"Algorithm {name!r} has no option {unknown[0]!r}. Its options: {', '.join(known) or 'none'}.")
    made: SearchAlgorithm = algorithm(problem, seed=seed, evaluations=evaluations, **options)
    return made


def option_names(algorithm: type[SearchAlgorithm]) -> tuple[str, ...]:
    """The keyword arguments of an algorithm beyond those that every algorithm has."""
    shared = inspect.signature(SearchAlgorithm.__init__).parameters
    own = inspect.signature(algorithm.__init__).parameters
    return tuple(name for name in own if name not in shared)
