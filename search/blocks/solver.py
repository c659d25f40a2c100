"""The best network under any limits, where every number is a sum over blocks and pairs: an integer program.

Puzzle's program (arXiv 2411.19146, section 4): binary x_io says that block i has alternative o, so sum_o x_io = 1;
minimise sum c_io x_io subject to sum w_io x_io <= W for every limit. Terms of pairs go beyond it: block i is in a set
of its alternatives and block j in one of its own, z = 1 exactly then, which three rows say of a continuous z.

Answers come within a time: first the linear relaxation; then the program over the variables that are likely in the
optimum; then over those that the relaxation's reduced costs do not rule out. What is not proved by then is said.

Pure numbers: nothing here knows spaces, jobs or torch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

# An answer whose sum is within this share of the best possible one counts as the best, unless less is asked for.
ENOUGH = 1e-3
# Alternatives, beside one for each block, with which the program is solved first, and then.
LIKELY = (12, 40)
# The same, of which one or two are changed at a time, and how often.
NEARBY, MOVES = 100, 60
# In the search for the nearest network to limits that nothing meets, what the objective weighs beside them.
BESIDE_LIMITS = 1e-4
# Rounding of sums, as shares: what the solver may take for kept, and what is kept.
ROUNDING, EXACT = 1e-9, 1e-12
# The largest number of a row, so far beyond its limit that more says nothing; HiGHS refuses 1e15.
LARGEST_NUMBER = 1e9


@dataclass(frozen=True)
class Pair:
    """What a network has beyond the sum where two blocks are both in sets of their alternatives.

    Attributes:
        first, second: numbers of two different blocks.
        of_first, of_second: shape (num_alternatives of that block,), bool.
        weight: added where both are in their sets.
    """

    first: int
    of_first: np.ndarray
    second: int
    of_second: np.ndarray
    weight: float


@dataclass(frozen=True)
class Terms:
    """A number of a network as a sum over its blocks, and pairs of them.

    Attributes:
        base: what every network has.
        costs: for each block, shape (num_alternatives,).
    """

    base: float
    costs: tuple[np.ndarray, ...]
    pairs: tuple[Pair, ...] = ()

    def of(self, networks: np.ndarray) -> np.ndarray:
        """The number of each network.

        Args:
            networks: an alternative for each block, shape (num_networks, num_blocks), int.
        """
        total = np.full(len(networks), float(self.base))
        for block, costs in enumerate(self.costs):
            total += costs[networks[:, block]]
        for pair in self.pairs:
            both = pair.of_first[networks[:, pair.first]] & pair.of_second[networks[:, pair.second]]
            total += pair.weight * both
        return total


@dataclass(frozen=True)
class Limit:
    """A sum that must not be exceeded.

    Attributes:
        scale: divides an excess where limits are compared; positive.
    """

    terms: Terms
    most: float
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Solution:
    """A network, and how good it is.

    Attributes:
        network: an alternative for each block.
        total: total of the objective.
        gap: how far, as a share of the total, the best possible one may lie below it; 0: proved best to `ENOUGH`.
            For one that exceeds limits, how far the least excess may lie below its own.
        feasible: whether it keeps all limits.
    """

    network: tuple[int, ...]
    total: float
    gap: float
    feasible: bool


def solve(
    objective: Terms,
    limits: Sequence[Limit] = (),
    *,
    seconds: float = math.inf,
    nodes: int | None = None,
    enough: float = ENOUGH,
    without: Sequence[Sequence[int]] = (),
) -> Solution | None:
    """The network with the least total that keeps all limits; None if the space holds none.

    Limits that no network meets give the one that exceeds them least: by the sum over limits of the excess divided by
    the limit's scale, and of those the best.

    Args:
        seconds: seconds of solving, about; infinite: until the answer is proved.
        nodes: nodes of each search tree; a bound under which the same machine gives the same answer every time.
        enough: share of the total by which an answer may miss the best one.
        without: networks that are not wanted.
    """
    left_out = list(without)
    while (found := _Program(objective, limits, left_out, nodes, enough, soft=False).solved(seconds)) is not None:
        if found.feasible:
            return found
        left_out.append(found.network)  # beyond a limit by what the solver takes for rounding
    return _Program(objective, limits, without, nodes, enough, soft=True).solved(seconds)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a program over some alternatives gave.

    Attributes:
        network: None if there is none, or none was found in the time.
        total: in the program's costs.
        bound: that no network of these alternatives is below.
        is_final: whether more time would change nothing.
    """

    network: tuple[int, ...] | None
    total: float
    bound: float
    is_final: bool


_NOTHING = _Found(None, math.inf, -math.inf, is_final=False)


def _unit(limit: Limit) -> float:
    """By what the row of a limit is divided: its scale, as far as the solver takes the numbers that this leaves."""
    largest = max((float(np.abs(costs).max(initial=0.0)) for costs in limit.terms.costs), default=0.0)
    return max(limit.scale, largest / LARGEST_NUMBER, abs(limit.terms.base) / LARGEST_NUMBER, 1e-300)


class _Program:
    """Columns: alternatives of every block, then pairs, then the excess of each limit if limits are soft."""

    def __init__(
        self,
        objective: Terms,
        limits: Sequence[Limit],
        without: Sequence[Sequence[int]],
        nodes: int | None,
        enough: float,
        *,
        soft: bool,
    ) -> None:
        self._objective, self._limits, self._soft, self._nodes, self._share = objective, limits, soft, nodes, enough
        self._sizes = [len(costs) for costs in objective.costs]
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)]).astype(int)
        self._num_x = int(self._starts[-1])
        terms = [objective, *(limit.terms for limit in limits)]
        self._pairs = [pair for each in terms for pair in each.pairs]
        self._num = self._num_x + len(self._pairs) + (len(limits) if soft else 0)
        rows, low, high = [], [], []
        for block, size in enumerate(self._sizes):
            row = np.zeros(self._num)
            row[self._starts[block] : self._starts[block] + size] = 1
            rows.append(row)
            low.append(1.0)
            high.append(1.0)
        for number, limit in enumerate(limits):
            row = self._row(limit.terms)
            # Rows of about one, whatever the unit: bytes beside milliseconds are beyond a solver's tolerances.
            unit = _unit(limit)
            if soft:
                row[self._num_x + len(self._pairs) + number] = -unit
            rows.append(row / unit)
            low.append(-np.inf)
            high.append((limit.most - limit.terms.base) / unit + ROUNDING)
        for place, pair in enumerate(self._pairs, self._num_x):
            for coupling, bound in self._rows_of(place, pair):
                rows.append(coupling)
                low.append(-np.inf)
                high.append(bound)
        for network in without:
            row = np.zeros(self._num)
            row[self._starts[:-1] + np.array(network, dtype=int)] = 1
            rows.append(row)
            low.append(-np.inf)
            high.append(len(self._sizes) - 1.0)
        # The objective and every limit, of all columns but the excesses; the limits' right sides; who is in which set.
        wide = self._num_x + len(self._pairs)
        self._without = {tuple(int(place) for place in network) for network in without}
        self._matrix = sparse.csc_matrix(np.array(rows))
        self._low, self._high = np.array(low), np.array(high)
        self._costs = self._row(objective)
        if soft:
            largest = max(float(np.abs(self._costs).max(initial=0.0)), 1e-300)
            self._costs = self._costs * (BESIDE_LIMITS / largest)
            self._costs[wide:] = 1
        limited = slice(len(self._sizes), len(self._sizes) + len(limits))
        self._sums = np.array([self._costs[:wide], *(row[:wide] for row in rows[limited])])
        self._most = np.array(high[limited])
        self._range = range(len(self._pairs))
        self._member = [
            self._sets([pair.first for pair in self._pairs], [pair.of_first for pair in self._pairs]),
            self._sets([pair.second for pair in self._pairs], [pair.of_second for pair in self._pairs]),
        ]

    def solved(self, seconds: float) -> Solution | None:
        """The answer; None if no network keeps the limits."""
        deadline = time.monotonic() + seconds
        relaxed = self._relaxed()
        if relaxed is None:
            return None
        least, fractions, x_costs = relaxed
        likely = np.argsort(x_costs, kind="stable")
        best = self._nearby(fractions, likely[: len(self._sizes) + NEARBY])
        for extra in (*LIKELY, self._num_x):
            # A variable whose reduced cost lifts the relaxation above what is known is in no better network.
            kept = likely[least + x_costs[likely] < self._enough(best.total)]
            if not len(kept):
                return self._answer(best, least, is_final=True)
            columns = kept[: len(self._sizes) + extra]
            found = self._integer(columns, deadline, share=1.0 if len(columns) == len(kept) else 0.4)
            best = found if found.total < best.total else best
            if len(columns) == len(kept):
                # What was ruled out is better than what is known by no more than `ENOUGH`, and the rest than the bound.
                return self._answer(best, max(least, found.bound), found.is_final)
        raise AssertionError("the last round has all columns")

    def _answer(self, best: _Found, bound: float, is_final: bool) -> Solution | None:
        if best.network is None and not is_final:
            # Too little time to find any network: as long as it takes.
            self._nodes = None
            best = self._integer(np.arange(self._num_x), math.inf, share=1.0)
            bound = best.bound
        return None if best.network is None else self._solution(best.network, bound)

    def _relaxed(self) -> tuple[float, np.ndarray, np.ndarray] | None:
        """The least total of fractions of alternatives, these, and reduced costs; None where even they break limits."""
        equal = self._low == self._high
        options = {"presolve": True}
        found = linprog(
            self._costs,
            A_ub=self._matrix[~equal],
            b_ub=self._high[~equal],
            A_eq=self._matrix[equal],
            b_eq=self._high[equal],
            bounds=self._bounds(),
            method="highs",
            options=options,
        )
        if found.status == 2:
            return None
        if found.status != 0:
            return -math.inf, np.zeros(self._num_x), np.zeros(self._num_x)
        x, reduced = np.asarray(found.x), np.asarray(found.lower.marginals)
        return float(found.fun), x[: self._num_x], reduced[: self._num_x]

    def _nearby(self, fractions: np.ndarray, columns: np.ndarray) -> _Found:
        """A good network near the relaxation's: rounded, then one or two alternatives changed while that helps.

        A change of two counts the terms of pairs between them as if only one had changed, and is looked at again.
        """
        block_of = np.repeat(np.arange(len(self._sizes)), self._sizes)
        chosen = np.array([start + fractions[start:end].argmax() for start, end in pairwise(self._starts)])
        penalty = 1.0 if self._soft else 10 * (1 + float(np.abs(self._costs[: self._num_x]).sum()))
        rows, other = self._sums[:, : self._num_x], block_of[columns][:, None] != block_of[columns]

        def judged(totals: np.ndarray) -> np.ndarray:
            excess = np.maximum(totals[1:] - self._most.reshape(-1, *[1] * (totals.ndim - 1)), 0)
            value: np.ndarray = totals[0] + penalty * excess.sum(axis=0)
            return value

        def changed(*moves: int) -> np.ndarray:
            places = chosen.copy()
            for move in moves:
                places[block_of[move]] = move
            return places

        totals = self._totals_of(chosen)
        for _ in range(MOVES):
            now = float(judged(totals))
            steps = rows[:, columns] - rows[:, chosen[block_of[columns]]] + self._of_pairs(chosen, columns)
            alone = judged(totals[:, None] + steps)
            first, second = np.unravel_index(
                np.where(other, judged(totals[:, None, None] + steps[:, :, None] + steps[:, None, :]), np.inf).argmin(),
                other.shape,
            )
            tried = [changed(columns[first], columns[second]), changed(columns[alone.argmin()])]
            best = min(tried, key=lambda places: float(judged(self._totals_of(places))))
            if not float(judged(self._totals_of(best))) < now - 1e-12 * abs(now):
                break
            chosen, totals = best, self._totals_of(best)
        network = tuple(int(place) for place in chosen - self._starts[:-1])
        if network in self._without or (not self._soft and (totals[1:] > self._most).any()):
            return _NOTHING
        return _Found(network, float(judged(totals)), -math.inf, is_final=False)

    def _totals_of(self, chosen: np.ndarray) -> np.ndarray:
        """Objective and limits of a network, shape (1 + num_limits,)."""
        pairs = np.array([self._member[0][p][chosen].any() and self._member[1][p][chosen].any() for p in self._range])
        totals: np.ndarray = self._sums[:, chosen].sum(axis=1) + self._sums[:, self._num_x :] @ pairs.astype(float)
        return totals

    def _of_pairs(self, chosen: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """What the terms of pairs change with each alternative alone, shape (1 + num_limits, num_columns)."""
        steps = np.zeros((len(self._sums), len(columns)))
        for p, pair in enumerate(self._pairs):
            first, second = self._member[0][p], self._member[1][p]
            now = first[chosen].any(), second[chosen].any()
            for block, mine, others in ((pair.first, first, now[1]), (pair.second, second, now[0])):
                inside = (columns >= self._starts[block]) & (columns < self._starts[block + 1])
                then = (mine[columns] & others).astype(float) - float(all(now))
                steps += self._sums[:, self._num_x + p, None] * np.where(inside, then, 0.0)
        return steps

    def _integer(self, columns: np.ndarray, deadline: float, share: float) -> _Found:
        """The best network among these alternatives, in this share of the time that is left."""
        kept = np.concatenate([np.sort(columns), np.arange(self._num_x, self._num)])
        left = deadline - time.monotonic()
        limited = {} if math.isinf(deadline) else {"time_limit": max(share * left, 1e-3)}
        limited |= {} if self._nodes is None else {"node_limit": self._nodes}
        low, high = (np.array(ends)[kept] for ends in zip(*self._bounds(), strict=True))
        found = milp(
            self._costs[kept],
            constraints=LinearConstraint(self._matrix[:, kept], self._low, self._high),
            integrality=(kept < self._num_x).astype(int),
            bounds=Bounds(low, high),
            options={"mip_rel_gap": self._share, **limited},
        )
        if found.x is None:
            return _Found(None, math.inf, -math.inf if found.status == 1 else math.inf, found.status != 1)
        chosen = np.zeros(self._num)
        chosen[kept] = found.x
        network = tuple(int(chosen[start:end].argmax()) for start, end in pairwise(self._starts))
        bound = found.mip_dual_bound
        return _Found(network, float(found.fun), float(found.fun if bound is None else bound), found.status != 1)

    def _bounds(self) -> list[tuple[float, float]]:
        return [(0.0, 1.0)] * (self._num_x + len(self._pairs)) + [(0.0, np.inf)] * (
            self._num - self._num_x - len(self._pairs)
        )

    def _enough(self, total: float) -> float:
        return total - self._share * abs(total) if math.isfinite(total) else total

    def _gap(self, total: float, bound: float) -> float:
        gap = (total - bound) / max(abs(total), 1e-12)
        return 0.0 if gap <= max(self._share * (1 + 1e-6), EXACT) else float(gap)

    def _solution(self, network: tuple[int, ...], bound: float) -> Solution:
        places = np.array([network])
        total = float(self._objective.of(places)[0])
        kept = all(
            limit.terms.of(places)[0] <= limit.most + EXACT * max(limit.scale, abs(limit.most))
            for limit in self._limits
        )
        costs = self._costs @ self._columns_of(network)
        return Solution(network, total, self._gap(float(costs), bound), bool(kept))

    def _columns_of(self, network: tuple[int, ...]) -> np.ndarray:
        columns = np.zeros(self._num)
        columns[self._starts[:-1] + np.array(network, dtype=int)] = 1
        for place, pair in enumerate(self._pairs, self._num_x):
            columns[place] = pair.of_first[network[pair.first]] and pair.of_second[network[pair.second]]
        if self._soft:
            for number, limit in enumerate(self._limits):
                excess = (float(limit.terms.of(np.array([network]))[0]) - limit.most) / _unit(limit)
                columns[self._num_x + len(self._pairs) + number] = max(0.0, excess)
        return columns

    def _sets(self, blocks: Sequence[int], chosen: Sequence[np.ndarray]) -> np.ndarray:
        """Which alternatives are in the sets, shape (num_sets, num_alternatives of all blocks), bool."""
        sets = np.zeros((len(blocks), self._num_x), dtype=bool)
        for row, block, inside in zip(sets, blocks, chosen, strict=True):
            row[self._starts[block] : self._starts[block + 1]] = inside
        return sets

    def _row(self, terms: Terms) -> np.ndarray:
        row = np.zeros(self._num)
        row[: self._num_x] = np.concatenate(terms.costs)
        own = {id(pair) for pair in terms.pairs}
        for place, pair in enumerate(self._pairs, self._num_x):
            row[place] = pair.weight if id(pair) in own else 0.0
        return row

    def _rows_of(self, place: int, pair: Pair) -> list[tuple[np.ndarray, float]]:
        """z <= a, z <= b, z >= a + b - 1, where a and b are the sums over the pair's sets."""
        first, second = np.zeros((2, self._num))
        for row, block, chosen in ((first, pair.first, pair.of_first), (second, pair.second, pair.of_second)):
            row[self._starts[block] : self._starts[block + 1]] = chosen
        z = np.zeros(self._num)
        z[place] = 1
        return [(z - first, 0.0), (z - second, 0.0), (first + second - z, 1.0)]
