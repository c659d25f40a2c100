"""Is there a network that meets the limits? Asked before anything is trained, of exact costs alone.

A network that meets them settles it. Otherwise a descent of the summed violations looks for one: from
the ends of the space, from the nearest networks known, and from random ones. Where it finds none, that is
a proof only if every network was counted, or if the end of the space that is best in a metric is beyond
its limit. The second rests on the contract of `Choice`, options in rising order of size; the descent tries to
refute it for this metric, and where it does, nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from search.objectives import Objective, violation

if TYPE_CHECKING:
    import numpy as np

    from search_space.architecture import Architecture
    from search_space.space import SearchSpace

Cost: TypeAlias = Callable[["Architecture"], Mapping[str, float]]
Answer = Literal["feasible", "infeasible", "not found"]

# Networks that the descent may look at: half a second or less for the largest spaces.
BUDGET = 1000
# Known networks that the descent starts from, besides the ends of the space.
NEAREST_STARTS = 3
# Genes that a kick changes on average, when a descent has come to an end short of the limits.
KICKED_GENES = 3


@dataclass(frozen=True, slots=True)
class SeenNetwork:
    """A network that was looked at, with its exact costs."""

    architecture: Architecture
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known about the limits.

    Attributes:
        answer: `feasible` (a network meets them), `infeasible` (proven: none does), or `not found`.
        nearest: a network that meets them, or the one that comes closest.
        reason: how it is known, as a sentence.
        looked_at: number of distinct networks whose costs were counted.
    """

    answer: Answer
    nearest: SeenNetwork
    reason: str
    looked_at: int


def find_feasible(
    space: SearchSpace,
    limits: Sequence[Objective],
    cost: Cost,
    rng: np.random.Generator,
    known: Sequence[SeenNetwork] = (),
    budget: int = BUDGET,
) -> Verdict:
    """Look for a network that meets all limits.

    Args:
        limits: objectives with a limit on a metric that `cost` gives; none: every network is feasible.
        known: networks whose costs are known already; if they are all of the space, none is looked for.
        budget: most networks that are looked at besides the known ones.
    """
    seeker = _Seeker(space, limits, cost, rng, known, budget)
    if seeker.solved:
        return seeker.verdict("feasible", "A random network meets the limits.")
    for end in (space.smallest(), space.largest()):
        seeker.look(end)
    if not seeker.solved and len(seeker.seen) < space.size():
        seeker.seek()
    if seeker.solved:
        return seeker.verdict("feasible", "A network that meets the limits was looked for and found.")
    if len(seeker.seen) >= space.size():
        return seeker.verdict("infeasible", f"Every one of the {space.size():,} networks was counted.")
    beyond = seeker.end_beyond_its_limit()
    if beyond is not None:
        return seeker.verdict("infeasible", beyond)
    return seeker.verdict(
        "not found",
        f"None of {len(seeker.seen):,} networks that were looked at meets the limits, which proves nothing.",
    )


class _Seeker:
    """Looks at networks, each once, and remembers the nearest."""

    def __init__(
        self,
        space: SearchSpace,
        limits: Sequence[Objective],
        cost: Cost,
        rng: np.random.Generator,
        known: Sequence[SeenNetwork],
        budget: int,
    ) -> None:
        self._space, self._limits, self._cost, self._rng = space, limits, cost, rng
        self.seen = {one.architecture.id: one for one in known}
        self._most = len(self.seen) + budget
        self._nearest = min(known, key=self._violation, default=None)

    @property
    def solved(self) -> bool:
        return self._nearest is not None and self._violation(self._nearest) == 0.0

    def verdict(self, answer: Answer, reason: str) -> Verdict:
        assert self._nearest is not None
        return Verdict(answer, self._nearest, reason, len(self.seen))

    def _violation(self, one: SeenNetwork) -> float:
        return violation(self._limits, one.metrics)

    def look(self, architecture: Architecture) -> SeenNetwork:
        """The network with its costs."""
        one = self.seen.get(architecture.id)
        if one is None:
            one = self.seen[architecture.id] = SeenNetwork(architecture, self._cost(architecture))
            if self._nearest is None or self._violation(one) < self._violation(self._nearest):
                self._nearest = one
        return one

    def seek(self) -> None:
        """Descend until a network meets the limits or the budget is spent."""
        known = sorted(self.seen.values(), key=self._violation)[:NEAREST_STARTS]
        ends = [self.look(self._space.smallest()), self.look(self._space.largest())]
        for start in (*ends, *known):
            self._descend(start, self._violation)
        for limit in self._limits:
            # What the proof rests on: does anything lie beyond the end that should be best?
            self._descend(self._end(limit), lambda one, limit=limit: limit.cost(one.metrics[limit.metric]))  # type: ignore[misc]
        kicks = min(1.0, KICKED_GENES / len(self._space.choices))
        idle = 0
        while self._room and idle < NEAREST_STARTS:
            before = len(self.seen)
            self._descend(self.look(self._space.sample(self._rng)), self._violation)
            assert self._nearest is not None
            kicked = self._space.mutate(self._nearest.architecture, self._rng, kicks)
            self._descend(self.look(kicked), self._violation)
            idle = idle + 1 if len(self.seen) == before else 0

    @property
    def _room(self) -> bool:
        return not self.solved and len(self.seen) < self._most

    def _descend(self, start: SeenNetwork, badness: Callable[[SeenNetwork], float]) -> SeenNetwork:
        """Change one gene at a time, in random order, as long as that makes it better."""
        best, improved = start, True
        while improved:
            improved = False
            for position in self._rng.permutation(len(self._space.choices)):
                for gene in range(len(self._space.choices[position].options)):
                    if not self._room:
                        return best
                    genes = list(best.architecture.genes)
                    if genes[position] == gene:
                        continue
                    genes[position] = gene
                    other = self.look(self._space.from_genes(genes))
                    if badness(other) < badness(best):
                        best, improved = other, True
        return best

    def _end(self, limit: Objective) -> SeenNetwork:
        smallest = limit.goal == "minimize"
        return self.look(self._space.smallest() if smallest else self._space.largest())

    def end_beyond_its_limit(self) -> str | None:
        """The proof by the space's end, as a sentence: for some limit it is beyond, and nothing seen is better."""
        for limit in self._limits:
            end, metric = self._end(limit), limit.metric
            best = min(limit.cost(one.metrics[metric]) for one in self.seen.values())
            if limit.violation(end.metrics[metric]) > 0 and best >= limit.cost(end.metrics[metric]):
                which, than = ("smallest", "less") if limit.goal == "minimize" else ("largest", "more")
                return (
                    f"The {which} network has {metric} {end.metrics[metric]:,.0f}, beyond the limit of "
                    f"{limit.limit:,.12g}, and none of {len(self.seen):,} networks that were counted has {than}."
                )
        return None
