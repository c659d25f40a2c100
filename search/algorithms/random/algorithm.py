"""Random search without repetition: uniform over genes, or over bins of a cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.algorithm import SearchAlgorithm
from search.algorithms.random.options import RandomOptions
from search.evaluation import Evaluation
from search.problem import Problem
from search_space.architecture import Architecture

# Draws in a row that may repeat known architectures before a small space counts as exhausted.
MAX_REPEATS = 10_000


class RandomSearch(SearchAlgorithm[RandomOptions]):
    """Asks for the seeds, then for random architectures, `batch` at a time.

    Raises:
        ValueError: bins of a cost in a space without layers.
    """

    def __init__(self, problem: Problem, *, seed: int, evaluations: int, options: RandomOptions) -> None:
        super().__init__(problem, seed=seed, evaluations=evaluations, options=options)
        over = options.over
        if over != "genes" and not self.space.has_layers:
            raise ValueError(f"Space {self.space.name!r} has no layers, so no {over} to be uniform over; take genes.")
        self._rng = np.random.default_rng(seed)

    def _propose(self, room: int) -> list[Architecture]:
        room = min(self.options.batch, room)
        batch = dict.fromkeys(self._unknown(self.problem.seeds)[:room])
        repeats = 0
        while len(batch) < room and repeats < MAX_REPEATS:
            architecture = self.space.sample(self._rng, self.options.over)
            repeats += 1
            if architecture.id not in self._known and architecture not in batch:
                batch[architecture] = None
                repeats = 0
        return list(batch)

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        """Nothing to learn."""


ALGORITHM = RandomSearch
