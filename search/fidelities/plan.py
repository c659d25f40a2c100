"""LadderPlan: how far networks heal before they are chosen, and how many climb to each rung (successive halving).

Jamieson and Talwalkar, arXiv 1502.07943; of networks that are to be healed DarwinLM, arXiv 2502.07780, algorithm 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LadderPlan:
    """A ladder: level 0 is a network as it was found, level i the i-th rung.

    Attributes:
        rungs: steps of healing after which a network is scored again, counted from its start; growing.
        candidates: networks that heal up to the first rung.
        keep: share of a rung's networks that goes on to the next.
    """

    rungs: tuple[int, ...]
    candidates: int
    keep: float

    def reaching(self, started: int) -> tuple[int, ...]:
        """How many of so many networks reach each rung: at least one wherever one starts."""
        counts = [started]
        for _ in self.rungs[1:]:
            counts.append(math.ceil(round(self.keep * counts[-1], 9)))
        return tuple(counts)

    def steps(self) -> tuple[int, ...]:
        """Steps that each rung costs all its networks together; each goes on from the rung before."""
        return self.steps_of(self.candidates)

    def steps_of(self, started: int) -> tuple[int, ...]:
        """The same for so many candidates."""
        below = (0, *self.rungs)
        counts = self.reaching(started)
        return tuple(count * (to - since) for count, since, to in zip(counts, below, self.rungs, strict=False))


def affordable(rungs: tuple[int, ...], keep: float, budget: int) -> int:
    """The most candidates whose ladder costs no more steps than a budget; 0 if not even one's does."""
    most = budget // rungs[0]
    low = 0
    while low < most:
        middle = (low + most + 1) // 2
        if sum(LadderPlan(rungs, middle, keep).steps()) <= budget:
            low = middle
        else:
            most = middle - 1
    return low
