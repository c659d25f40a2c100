"""Whether limits can be met: found, proven impossible, or honestly unknown."""

import numpy as np
import pytest

from search.feasibility import SeenNetwork, find_feasible
from search.objectives import Objective
from search_space import Choice, SearchSpace
from tests.tiers import mostly_thorough

# 4^12 networks: far too many to be counted.
LARGE = SearchSpace("large", [Choice(f"c{i}", (0, 1, 2, 3)) for i in range(12)])
SMALL = SearchSpace("small", [Choice(f"c{i}", (0, 1, 2)) for i in range(3)])


def rising(architecture):
    """Two costs that rise with every gene."""
    genes = np.array(architecture.genes)
    return {"params": 100.0 + float(genes.sum()), "macs": 10.0 + float((genes * np.arange(1, len(genes) + 1)).sum())}


def opposed(architecture):
    """Two costs of which one rises with every gene and the other falls."""
    total = float(sum(architecture.genes))
    return {"params": total, "macs": 3.0 * len(architecture.genes) - total}


def find(space, cost, *limits, **more):
    return find_feasible(space, limits, cost, np.random.default_rng(0), **more)


def test_without_limits_every_network_is_feasible():
    assert find(LARGE, rising).answer == "feasible"


def test_limit_that_the_smallest_network_meets_exactly_is_feasible():
    verdict = find(LARGE, rising, Objective("params", limit=100.0))
    assert verdict.answer == "feasible"
    assert verdict.nearest.architecture == LARGE.smallest()


def test_limit_below_the_smallest_network_is_proven_infeasible():
    verdict = find(LARGE, rising, Objective("params", limit=99.0), Objective("macs", limit=1000.0))
    assert verdict.answer == "infeasible"
    assert verdict.nearest.architecture == LARGE.smallest()
    assert "smallest network has params 100, beyond the limit of 99" in verdict.reason


def test_least_value_above_the_largest_network_is_proven_infeasible():
    verdict = find(LARGE, rising, Objective("params", "maximize", limit=137.0))
    assert verdict.answer == "infeasible"
    assert verdict.nearest.architecture == LARGE.largest()
    assert "largest network" in verdict.reason


def test_narrow_window_is_found_by_descent():
    # Of 16.8 million networks those with a weighted sum of 7 and a sum of 2 at least are very few.
    window = (Objective("macs", limit=17.0), Objective("params", "maximize", limit=104.0))
    verdict = find(LARGE, rising, *window)
    assert verdict.answer == "feasible"
    assert verdict.nearest.metrics["macs"] <= 17
    assert verdict.nearest.metrics["params"] >= 104
    assert verdict.looked_at <= 1002


def test_limits_that_can_be_met_alone_but_not_together_are_not_claimed_to_be_proven():
    verdict = find(LARGE, opposed, Objective("params", limit=15.0), Objective("macs", limit=15.0))
    assert verdict.answer == "not found"
    assert "proves nothing" in verdict.reason
    # The nearest shares the excess: 36 = 18 + 18, or any split of it, all 6 above 15 in sum.
    assert sum(verdict.nearest.metrics.values()) == 36


def test_in_a_space_that_is_counted_whole_the_same_is_proven():
    known = [SeenNetwork(one, opposed(one)) for one in SMALL.every()]
    verdict = find(SMALL, opposed, Objective("params", limit=2.0), Objective("macs", limit=2.0), known=known)
    assert verdict.answer == "infeasible"
    assert "Every one of the 27 networks" in verdict.reason
    assert verdict.looked_at == 27


def test_cost_that_falls_with_a_gene_is_not_taken_for_a_proof():
    """The smallest network is not the cheapest: nothing is concluded from it."""

    def deceptive(architecture):
        return {"params": 100.0 - float(sum(architecture.genes))}

    verdict = find(LARGE, deceptive, Objective("params", limit=50.0))
    assert verdict.answer == "not found"
    assert verdict.nearest.architecture == LARGE.largest()
    assert find(LARGE, deceptive, Objective("params", limit=64.0)).answer == "feasible"


def test_the_budget_is_kept_and_no_network_is_counted_twice():
    counted = []

    def cost(architecture):
        counted.append(architecture.id)
        return opposed(architecture)

    find(LARGE, cost, Objective("params", limit=1.0), Objective("macs", limit=1.0), budget=150)
    assert len(counted) <= 152
    assert len(set(counted)) == len(counted)


@pytest.mark.parametrize("seed", mostly_thorough(range(3), 0))
def test_the_same_seed_gives_the_same_verdict(seed):
    limits = (Objective("params", limit=10.0), Objective("macs", limit=10.0))
    first, second = (find_feasible(LARGE, limits, opposed, np.random.default_rng(seed)) for _ in range(2))
    assert (first.answer, first.nearest.architecture, first.looked_at) == (
        second.answer,
        second.nearest.architecture,
        second.looked_at,
    )
