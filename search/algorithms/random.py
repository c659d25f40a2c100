"""Random search: uniform over genes, without repetition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.algorithm import SearchAlgorithm
from search.evaluation import Evaluation
from search.objectives import Objective
from search_space.architecture import Architecture
from search_space.space import SearchSpace

# Draws in a row that may repeat known architectures before a small space counts as exhausted.
MAX_REPEATS = 10_000


class RandomSearch(SearchAlgorithm):
    """Asks for random architectures, `batch` at a time."""

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        *,
        seed: int,
        evaluations: int,
        batch: int = 10,
    ) -> None:
        super().__init__(space, objectives, seed=seed, evaluations=evaluations)
        if batch < 1:
            raise ValueError(f"Got batch {batch}; it must be at least 1.")
        self._batch = batch
        self._rng = np.random.default_rng(seed)
        self._asked: set[Architecture] = set()

    def ask(self) -> list[Architecture]:
        batch: list[Architecture] = []
        repeats = 0
        room = min(self._batch, self.evaluations - len(self._asked))
        while len(batch) < room and repeats < MAX_REPEATS:
            architecture = self.space.sample(self._rng)
            if architecture in self._asked:
                repeats += 1
                continue
            repeats = 0
            self._asked.add(architecture)
            batch.append(architecture)
        return batch

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Nothing to learn."""


ALGORITHM = RandomSearch
