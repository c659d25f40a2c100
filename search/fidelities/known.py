"""Fidelities: what is known of networks after none, a few and more steps of healing."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from search.evaluation import Evaluation
from search.objectives import Constraint, Objective, violation
from search.pareto import pareto_front


class Fidelities:
    """Evaluations of networks by level: 0 is a network as it was found, the last level the highest rung.

    Args:
        rungs: levels above 0.
        healed: metrics that weights decide; the others of a network are the same at every level.
        parent: id of the network that teaches: it does not heal, and is at every level what it is.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        rungs: int,
        healed: Collection[str],
        parent: str | None = None,
    ) -> None:
        self.objectives, self.constraints = tuple(objectives), tuple(constraints)
        self.healed, self.parent = frozenset(healed), parent
        self.levels: list[dict[str, Evaluation]] = [{} for _ in range(rungs + 1)]
        # Limits that healing cannot help a network to keep.
        self._fixed_objectives = tuple(one for one in objectives if one.metric not in self.healed)
        self._fixed_constraints = tuple(one for one in constraints if one.metric not in self.healed)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that a network is judged by, objectives first."""
        return (*(one.metric for one in self.objectives), *(one.metric for one in self.constraints))

    def add(self, level: int, evaluation: Evaluation) -> None:
        """A network was scored at a level."""
        self.levels[level][evaluation.architecture.id] = evaluation

    def waiting(self, level: int) -> list[Evaluation]:
        """Networks that may climb to a level, as they were scored one below, in the order in which they came there.

        A network whose scores are no numbers, or that breaks a limit that healing does not move, may not.
        """
        done = self.levels[level]
        return [
            one
            for name, one in self.levels[level - 1].items()
            if name not in done and name != self.parent and self._scored(one) and self._may_be_kept(one)
        ]

    def pairs(self, level: int) -> list[tuple[Evaluation, Evaluation]]:
        """Networks with scores at a level and at the one below, as the lower and the higher."""
        below = self.levels[level - 1]
        found = [(below[name], one) for name, one in self.levels[level].items()]
        return [(low, high) for low, high in found if self._scored(low) and self._scored(high)]

    def at_top(self) -> list[Evaluation]:
        """Networks as they were scored on the highest rung, the parent as it is among them; numbers only."""
        parent = self.levels[0].get(self.parent or "")
        found = [*self.levels[-1].values(), *([] if parent is None else [parent])]
        return [one for one in found if self._scored(one)]

    def front(self) -> list[Evaluation]:
        """The front of what is at the top, without the parent; best in the first objective first."""
        on_it = pareto_front(self.at_top(), self.objectives, self.constraints)
        return [one for one in on_it if one.architecture.id != self.parent]

    def _scored(self, one: Evaluation) -> bool:
        return all(math.isfinite(one.metrics[metric]) for metric in self.metrics)

    def _may_be_kept(self, one: Evaluation) -> bool:
        return violation(self._fixed_objectives, one.metrics, self._fixed_constraints) == 0
