"""Search algorithms, one file each; each file names its class `ALGORITHM`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from search.algorithm import SearchAlgorithm
from search.objectives import Objective
from search_space import plugins
from search_space.space import SearchSpace


def make_algorithm(
    name: str,
    space: SearchSpace,
    objectives: Sequence[Objective],
    *,
    seed: int = 0,
    evaluations: int = 250,
    **options: int | float | None,
) -> SearchAlgorithm:
    """A search algorithm by the name of its file.

    Raises:
        UnknownPluginError: no algorithm of that name.
        ValueError: an option that the algorithm does not have, or an impossible value.
    """
    algorithm = plugins.load("search.algorithms", name, "search algorithm").ALGORITHM
    known = option_names(algorithm)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"Algorithm {name!r} has no option {unknown[0]!r}. Its options: {', '.join(known) or 'none'}.")
    made: SearchAlgorithm = algorithm(space, objectives, seed=seed, evaluations=evaluations, **options)
    return made


def option_names(algorithm: type[SearchAlgorithm]) -> tuple[str, ...]:
    """The keyword arguments of an algorithm beyond those that every algorithm has."""
    shared = inspect.signature(SearchAlgorithm.__init__).parameters
    own = inspect.signature(algorithm.__init__).parameters
    return tuple(name for name in own if name not in shared)
