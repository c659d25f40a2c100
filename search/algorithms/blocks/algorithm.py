"""Blocks: score every alternative of every block once, learn where the sum is wrong, and solve for the front.

Puzzle's search (arXiv 2411.19146) with what it lacks: combinations are measured, pairs of blocks that depend on one
another get terms of their own, and the rest of the budget goes to the front that the integer program predicts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.algorithm import SearchAlgorithm
from search.algorithms.blocks.options import BlocksOptions
from search.blocks.fit import fit_table
from search.blocks.parts import Blocks
from search.blocks.solver import Limit, solve
from search.blocks.table import BlockTable
from search.evaluation import Evaluation
from search.objectives import Constraint, Objective
from search.problem import Problem
from search_space.architecture import Architecture

# Draws in a row that may repeat known networks before a small space counts as exhausted.
MAX_REPEATS = 10_000
# Of a program while a search plans: not seconds, so that a search that was killed plans the same again.
PLANNING_NODES = 100


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
        found: list[Architecture] = []
        known = [tuple(row) for row in self.blocks.networks([one.architecture for one in self._told]).tolist()]
        for number in range(count):
            limits = self._limits_at(table, [one for one in usable if one is not wanted], number, count)
            solution = solve(
                table.quantities[wanted.metric].damage, [*always, *limits], nodes=PLANNING_NODES, without=known
            )
            if solution is None:
                break
            known.append(solution.network)
            found += self._unknown([self.blocks.architecture(solution.network)])
        return found

    def _limits_at(self, table: BlockTable, others: Sequence[Objective], number: int, count: int) -> list[Limit]:
        """Limits on the other objectives: places along their ranges, shifted in every batch."""
        limits = []
        for place, other in enumerate(others):
            share = (number + self._rng.random()) / count if place == 0 else self._rng.random()
            damage = table.quantities[other.metric].damage
            least, most = (sum(float(ends(costs)) for costs in damage.costs) for ends in (np.min, np.max))
            span = most - least
            limits.append(Limit(damage, damage.base + least + span * share, max(span, 1e-12)))
        return limits


ALGORITHM = BlockSearch
