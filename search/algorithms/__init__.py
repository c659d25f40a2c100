"""Search algorithms, one folder each: `options.py` declares `OPTIONS`, `algorithm.py` names its class `ALGORITHM`.

`example.py`, if a folder has it, says how the contract tries a slow algorithm in a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from plugins.kinds import ALGORITHMS
from plugins.options import Options, read

if TYPE_CHECKING:
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
    """A search algorithm by the name of its folder.

    Args:
        constraints: limits on metrics that are not objectives.
        exact_costs: metric -> function that gives it exactly, at once; such a metric is never learned.
        warm_start: stored evaluations of the same supernet; learned from, not asked again, not counted.
        seeds: architectures to ask for first.
        options: those of the algorithm, see its `options.py`.

    Raises:
        UnknownPluginError: no algorithm of that name.
        PluginError: an installed package offers it, and it cannot be used.
        ValueError: an option that the algorithm does not have, or an impossible value.
    """
    from search.problem import Problem  # numpy: not needed by those who only read options

    problem = Problem(
        space, tuple(objectives), tuple(constraints), dict(exact_costs or {}), tuple(warm_start), tuple(seeds)
    )
    return algorithm_for(problem, name, seed=seed, evaluations=evaluations, options=options)


def algorithm_for(
    problem: Problem, name: str, *, seed: int, evaluations: int, options: Mapping[str, int | float | str | None]
) -> SearchAlgorithm:
    """`make_algorithm` for a problem that is made already."""
    declared: type[Options] = ALGORITHMS.options(name).OPTIONS
    record = read(declared, options, f"Algorithm {name!r}")
    made: SearchAlgorithm = ALGORITHMS.load(name).ALGORITHM(problem, seed=seed, evaluations=evaluations, options=record)
    return made
