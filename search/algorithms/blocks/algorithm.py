"""Blocks: score every alternative of every block once, learn where the sum is wrong, and solve for the front.

Puzzle's search (arXiv 2411.19146) with what it lacks: combinations are measured, pairs of blocks that depend on one
another get terms of their own, and the rest of the budget goes to the front that the integer program predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from search.algorithm import SearchAlgorithm
from search.algorithms.blocks.options import BlocksOptions
from search.blocks.fit import DIVERGENCE, fit_table
from search.blocks.parts import Blocks
from search.blocks.solver import Limit, solve
from search.blocks.table import BlockTable
from search.evaluation import Evaluation
from search.objectives import Constraint, Objective
from search.pareto import on_scales, pareto_front
from search.problem import Problem
from search_space.architecture import Architecture

# Draws in a row that may repeat known networks before a small space counts as exhausted.
MAX_REPEATS = 10_000
# Of a program while a search plans: not seconds, so that a search that was killed plans the same again.
PLANNING_NODES = 100

# One limit in so many is spread over the whole range, and the others go where the measured front has gaps.
SPREAD = 4
# Where in a gap of the front a limit is tried, as a share of the way from its cheaper end.
WITHIN = (0.3, 0.98)


class Gap(NamedTuple):
    """Between two networks that are neighbours on the measured front: where another one might be.

    Attributes:
        area: area of the rectangle between them, on the scales of the front.
        low, high: their values in the other objective.
    """

    area: float
    low: float
    high: float


class BlockSearch(SearchAlgorithm[BlocksOptions]):
    """Asks for the seeds, every alternative of every block inside the largest network, random combinations, and then
    for what is predicted to be on the front, learning from each batch.

    Raises:
        ValueError: a block of the space has too many alternatives.
    """

    def __init__(self, problem: Problem, *, seed: int, evaluations: int, options: BlocksOptions) -> None:
        super().__init__(problem, seed=seed, evaluations=evaluations, options=options)
        self.blocks = Blocks(self.space)
        self._rng = np.random.default_rng(seed)
        self._told = list(problem.warm_start)
        largest, *others = (self.blocks.architecture(one) for one in self.blocks.singles())
        # In no order: a budget that is too small for all scores some of every block.
        order = self._rng.permutation(len(others))
        self._first: list[Architecture] | None = [*problem.seeds, largest, *(others[i] for i in order)]
        self._random_left = options.combinations

    def _propose(self, room: int) -> list[Architecture]:
        if self._first is not None:
            asked = self._unknown(self._first)[:room]
            self._first = None
            if asked:
                return asked
        if self._random_left > 0:
            asked = self._random(min(self._random_left, room))
            self._random_left -= max(len(asked), 1)
            if asked:
                return asked
        count = min(self.options.batch, room)
        asked = self._on_the_front(count)
        return [*asked, *self._random(count - len(asked), besides=asked)]

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        self._told += evaluations

    def _random(self, count: int, besides: Sequence[Architecture] = ()) -> list[Architecture]:
        """New networks of all sizes."""
        found = dict.fromkeys(besides)
        over, repeats = "params" if self.space.has_layers else "genes", 0
        while len(found) < len(besides) + count and repeats < MAX_REPEATS:
            # Bins of a cost never draw some networks; the last ones are found without.
            one = self.space.sample(self._rng, over if repeats < MAX_REPEATS // 100 else "genes")
            repeats += 1
            if one.id not in self._known and one not in found:
                found[one], repeats = None, 0
        return list(found)[len(besides) :]

    # --- the front --------------------------------------------------------------------------------

    def _on_the_front(self, count: int) -> list[Architecture]:
        """New networks that are predicted to be on the front, spread over it."""
        if not self.blocks.blocks or not count:
            return []
        judged: list[Objective | Constraint] = [*self.objectives, *self.problem.constraints]
        goals = {each.metric: each.goal for each in judged}
        if all(DIVERGENCE in one.metrics for one in self._told):
            goals.setdefault(DIVERGENCE, "minimize")
        table = fit_table(self.blocks, self._told, goals, self.problem.exact_costs)
        usable = [one for one in self.objectives if one.metric in table.quantities]
        if not usable:
            return []
        learned = [one for one in usable if one.metric not in self.problem.exact_costs]
        wanted = (learned or usable)[0]
        always = [
            table.quantities[each.metric].limit(each.limit)
            for each in judged
            if each.limit is not None and each.metric in table.quantities
        ]
        others = [one for one in usable if one is not wanted]
        gaps = self._gaps(wanted, others[0]) if others else []
        found: list[Architecture] = []
        known = [tuple(row) for row in self.blocks.networks([one.architecture for one in self._told]).tolist()]
        for number in range(count):
            limits = self._limits_at(table, others, number, count, gaps if number % SPREAD else [])
            solution = solve(
                table.quantities[wanted.metric].damage, [*always, *limits], nodes=PLANNING_NODES, without=known
            )
            if solution is None:
                break
            known.append(solution.network)
            found += self._unknown([self.blocks.architecture(solution.network)])
        return found

    def _gaps(self, wanted: Objective, other: Objective) -> list[Gap]:
        """Between neighbours on the front of what is measured."""
        front = pareto_front(self._told, [wanted, other], self.problem.constraints)
        if len(front) < 2:
            return []
        sides = np.abs(np.diff(on_scales(front, [wanted, other]), axis=0))
        ends = pairwise(float(one.metrics[other.metric]) for one in front)
        return [Gap(float(area), *sorted(both)) for area, both in zip(sides.prod(axis=1), ends, strict=True)]

    def _limits_at(
        self, table: BlockTable, others: Sequence[Objective], number: int, count: int, gaps: list[Gap]
    ) -> list[Limit]:
        """Limits on the other objectives: in the largest gap, which is halved; or where there is none, a place along
        their ranges, shifted in every batch."""
        limits = []
        for place, other in enumerate(others):
            quantity = table.quantities[other.metric]
            if place == 0 and gaps:
                gap = max(gaps)
                gaps.remove(gap)
                middle = gap.low + (gap.high - gap.low) * float(self._rng.uniform(*WITHIN))
                gaps += [Gap(gap.area / 4, gap.low, middle), Gap(gap.area / 4, middle, gap.high)]
                limits.append(quantity.limit(middle))
                continue
            share = (number + self._rng.random()) / count if place == 0 else self._rng.random()
            damage = quantity.damage
            least, most = (sum(float(ends(costs)) for costs in damage.costs) for ends in (np.min, np.max))
            span = most - least
            limits.append(Limit(damage, damage.base + least + span * share, max(span, 1e-12)))
        return limits


ALGORITHM = BlockSearch
