"""Every architecture of a small space, once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.algorithm import SearchAlgorithm
from search.algorithms.exhaustive.options import ExhaustiveOptions
from search.evaluation import Evaluation
from search.problem import Problem
from search_space.architecture import Architecture
from search_space.encoding import all_genes

# Genes of this many networks fit easily into memory; evaluating more takes days anyway.
MAX_SIZE = 1_000_000


class ExhaustiveSearch(SearchAlgorithm[ExhaustiveOptions]):
    """Asks for the seeds, then for all architectures in an order drawn from the seed.

    With a budget below the size of the space that is sampling without replacement, uniform over *networks*
    (`random` is uniform over genes, so networks with many inactive choices come up more often there).

    Raises:
        ValueError: the space has more than a million networks.
    """

    def __init__(self, problem: Problem, *, seed: int, evaluations: int, options: ExhaustiveOptions) -> None:
        super().__init__(problem, seed=seed, evaluations=evaluations, options=options)
        if self.space.size() > MAX_SIZE:
            raise ValueError(
                f"Space {self.space.name!r} has {self.space.size()} networks; an exhaustive search takes at most "
                f"{MAX_SIZE}. Use 'winnow', or 'random' for a sample."
            )
        self._genes = np.random.default_rng(seed).permutation(all_genes(self.space))
        self._next = 0

    def _propose(self, room: int) -> list[Architecture]:
        room = min(self.options.batch, room)
        batch = dict.fromkeys(self._unknown(self.problem.seeds)[:room])
        while len(batch) < room and self._next < len(self._genes):
            architecture = self.space.from_genes(self._genes[self._next])
            self._next += 1
            if architecture.id not in self._known:
                batch[architecture] = None
        return list(batch)

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        """Nothing to learn."""


ALGORITHM = ExhaustiveSearch
