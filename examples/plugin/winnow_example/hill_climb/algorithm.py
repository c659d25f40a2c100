"""Hill climbing: the neighbours of what is on the front now, and random networks where those are exhausted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from search.pareto import pareto_front
from winnow.plugins import Architecture, Evaluation, Problem, SearchAlgorithm
from winnow_example.hill_climb.options import HillClimbOptions

# Random draws in a row that may repeat known networks before the space counts as exhausted.
MAX_REPEATS = 10_000


class HillClimb(SearchAlgorithm[HillClimbOptions]):
    """Asks for the seeds, both ends of the space and random networks; then for neighbours of the front."""

    def __init__(self, problem: Problem, *, seed: int, evaluations: int, options: HillClimbOptions) -> None:
        super().__init__(problem, seed=seed, evaluations=evaluations, options=options)
        self._rng = np.random.default_rng(seed)
        self._told: list[Evaluation] = list(problem.warm_start)

    def _propose(self, room: int) -> list[Architecture]:
        room = min(self.options.batch, room)
        batch: dict[str, Architecture] = {}
        if self._num_asked == 0:
            first = self._unknown([*self.problem.seeds, self.space.smallest(), self.space.largest()])
            batch = {architecture.id: architecture for architecture in first[:room]}
        for architecture in self._candidates():
            if len(batch) >= room:
                break
            if architecture.id not in self._known:
                batch.setdefault(architecture.id, architecture)
        return list(batch.values())

    def _candidates(self) -> Iterator[Architecture]:
        """Neighbours of the front, then random networks."""
        front = pareto_front(self._told, self.problem.objectives, self.problem.constraints)
        for _ in range(self.options.neighbours if front else 0):
            peak = front[int(self._rng.integers(len(front)))].architecture
            yield self.space.mutate(peak, self._rng, 1 / len(self.space.choices))
        for _ in range(MAX_REPEATS):
            yield self.space.sample(self._rng)

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        self._told.extend(evaluations)


ALGORITHM = HillClimb
