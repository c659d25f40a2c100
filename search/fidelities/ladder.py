"""The ladder: networks of a running search heal a little, and those that look best go on.

It asks for nothing that its scores do not decide, so it is resumed by replay, as a search is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from search.evaluation import Evaluation
from search.fidelities.known import Fidelities
from search.fidelities.plan import LadderPlan
from search_space.architecture import Architecture

# Heals a network up to a level from where it stopped, and scores it there; what is stored is given at once.
Heal = Callable[[Architecture, int], Evaluation]


class Chooser(Protocol):
    """Who says which networks climb.

    Attributes:
        waves: shares of the search's evaluations after which networks climb, growing, the last one 1; the candidates
            are shared out evenly.
        name: for people.
    """

    waves: tuple[float, ...]
    name: str

    def choose(self, known: Fidelities, level: int, count: int) -> list[Architecture]:
        """At most so many of the networks that wait for a level, the best first."""


class Ladder:
    """Lets networks climb at the moments that the chooser names.

    Args:
        known: filled here.
        evaluations: budget of the search.
    """

    def __init__(self, plan: LadderPlan, chooser: Chooser, known: Fidelities, heal: Heal, evaluations: int) -> None:
        self.plan, self.chooser, self.known = plan, chooser, known
        self._heal, self._evaluations = heal, evaluations
        self._told = self._waves = 0

    def told(self, evaluations: Sequence[Evaluation]) -> None:
        """Networks were scored as they were found; waves that are due climb."""
        for one in evaluations:
            self.known.add(0, one)
        self._told += len(evaluations)
        waves = self.chooser.waves
        # The last wave waits for the end of the search: it may come before the budget is spent.
        while self._waves < len(waves) - 1 and self._told >= waves[self._waves] * self._evaluations:
            self._climb()

    def finish(self) -> None:
        """The search is over: what is left of the candidates climbs."""
        while self._waves < len(self.chooser.waves):
            self._climb()

    def _climb(self) -> None:
        """One wave up to the top. Who stayed on a rung in an earlier one may go on in this."""
        self._waves += 1
        started = round(self.plan.candidates * self._waves / len(self.chooser.waves))
        for level, wanted in enumerate(self.plan.reaching(started), 1):
            # Where fewer were there than should have gone on, because some could not heal, others make up for it.
            missing = wanted - len(self.known.levels[level])
            if missing > 0:
                for architecture in self.chooser.choose(self.known, level, missing):
                    self.known.add(level, self._heal(architecture, level))
