"""Blocks of spaces, and what is learned of them from few measured networks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from predictors.cost import ANALYTIC
from search.algorithms import make_algorithm
from search.blocks.fit import fit_table
from search.blocks.parts import Blocks
from search.blocks.solver import solve
from search.evaluation import Evaluation
from search.loop import each, run_search
from search.objectives import Objective
from search.pareto import hypervolume, pareto_front
from search.ranking import kendall_tau
from search_space import Architecture, Choice, SearchSpace
from search_space.adjustments import Adjustments
from search_space.plugins import load_family

TWELVE = SearchSpace("twelve", [Choice(f"layer{i}_keep", (0, 1)) for i in range(12)])


def test_a_layer_and_its_sizes_are_one_block_and_its_costs_add_up_exactly() -> None:
    space = load_family("llama", "tiny", Adjustments({}, None, None), None)
    blocks = Blocks(space)
    assert [block.name for block in blocks.blocks] == [f"layer{i}" for i in range(1, 7)]
    # First and last are always kept: 4 widths by 3 numbers of groups; the others may be left out.
    assert [len(block.alternatives) for block in blocks.blocks] == [12, 13, 13, 13, 13, 12]
    assert blocks.num_alternatives == 1 + 2 * 11 + 4 * 12
    known = {
        name: lambda one, name=name: float(ANALYTIC[name](space, one)) for name in ("params", "macs", "size_bytes")
    }
    table = fit_table(blocks, [], dict.fromkeys(known, "minimize"), known)
    assert all(one.trust.is_exact for one in table.quantities.values())
    rng = np.random.default_rng(0)
    for _ in range(20):
        one = space.sample(rng)
        (network,) = blocks.networks([one])
        assert blocks.architecture(network.tolist()) == one
        for name, cost in known.items():
            assert table.quantities[name].values(network[None])[0] == pytest.approx(cost(one), rel=1e-12)


def test_a_cost_that_does_not_add_up_is_left_out_with_the_reason() -> None:
    known = {"parity": lambda one: 1.0 + 99.0 * (sum(one.genes) % 2)}
    table = fit_table(Blocks(TWELVE), [], {"parity": "minimize"}, known)
    assert not table.quantities
    assert table.left_out["parity"].startswith("it does not add up from blocks: of ten sums one is off by ")


def test_choices_of_channels_tie_a_cnn_together_and_the_refusal_says_what_to_do() -> None:
    space = load_family("mobilenet", "cifar", Adjustments({}, None, None), None)
    with pytest.raises(ValueError, match=r"shape .* together: \d+ alternatives, of at most 1024. Give what ties them"):
        Blocks(space)


def damage_of(genes: np.ndarray, alone: np.ndarray, together: float, pair: tuple[int, int]) -> np.ndarray:
    removed = 1 - genes
    return removed @ alone + together * removed[:, pair[0]] * removed[:, pair[1]]


def test_two_layers_that_stand_in_for_each_other_are_ranked_right_with_a_pair_term() -> None:
    """Each of two layers can go, and not both: the sum would let both go first."""
    rng = np.random.default_rng(1)
    alone = rng.uniform(0.1, 0.4, 12)
    alone[4] = alone[5] = 0.01
    genes = np.array(list(itertools.product((0, 1), repeat=12)))
    true = damage_of(genes, alone, 3.0, (4, 5))

    def score(one: Architecture) -> Evaluation:
        divergence = float(damage_of(np.array([one.genes]), alone, 3.0, (4, 5))[0])
        return Evaluation(one, {"kl_divergence": divergence, "params": 1.0 + sum(one.genes)})

    blocks = Blocks(TWELVE)
    drawn = {one.id: one for one in (TWELVE.sample(rng) for _ in range(24))}
    asked = {one.id: one for one in map(blocks.architecture, blocks.singles())} | drawn
    evaluations = [score(one) for one in asked.values()]
    goals = {"kl_divergence": "minimize"}
    singles = fit_table(blocks, evaluations[: blocks.num_alternatives], goals, {}).quantities["kl_divergence"]
    fitted = fit_table(blocks, evaluations, goals, {}).quantities["kl_divergence"]
    networks = blocks.networks([TWELVE.from_genes(row) for row in genes])
    wrong, right = kendall_tau(true, singles.values(networks)), kendall_tau(true, fitted.values(networks))
    assert wrong is not None
    assert right is not None
    assert wrong < 0.85
    assert right > 0.97
    assert [(pair.first, pair.second) for pair in fitted.damage.pairs] == [(4, 5)]
    assert fitted.trust.error < 0.75 * fitted.trust.sum_alone
    # Two layers may go: by the sum it is both of them, by the truth it is not.
    size = fit_table(blocks, [], {"n": "minimize"}, {"n": lambda one: float(sum(one.genes))}).quantities["n"]
    by_sum, best = (solve(one.damage, [size.limit(10.0)]) for one in (singles, fitted))
    assert by_sum is not None
    assert best is not None
    both = damage_of(genes, alone, 3.0, (4, 5))[genes.sum(axis=1) == 10].min()
    found = [score(blocks.architecture(one.network)).metrics["kl_divergence"] for one in (by_sum, best)]
    assert found[0] > 3
    assert found[1] == pytest.approx(both)


def test_a_curve_says_how_sums_and_truth_go_together_and_a_limit_goes_through_it() -> None:
    rng = np.random.default_rng(2)
    alone = rng.uniform(0.05, 0.5, 12)

    def score(one: Architecture) -> Evaluation:
        sums = float((1 - np.array(one.genes)) @ alone)
        # Alone each does what it does; together they do less (the power is of what several do).
        several = sum(gene == 0 for gene in one.genes) > 1
        return Evaluation(one, {"kl_divergence": 0.8 * sums**0.7 if several else sums})

    blocks = Blocks(TWELVE)
    drawn = {one.id: one for one in (TWELVE.sample(rng) for _ in range(20))}
    evaluations = [
        score(one) for one in ({a.id: a for a in map(blocks.architecture, blocks.singles())} | drawn).values()
    ]
    found = fit_table(blocks, evaluations, {"kl_divergence": "minimize"}, {}).quantities["kl_divergence"]
    assert found.curve == pytest.approx((0.8, 0.7), rel=1e-6)
    assert found.trust.error < 1e-6 < 0.05 < found.trust.sum_alone
    limit = found.limit(0.9)
    assert 0.8 * limit.most**0.7 == pytest.approx(0.9)


def test_scores_that_are_missing_or_no_numbers_say_so_or_count_as_worse_than_all() -> None:
    def score(one: Architecture) -> Evaluation:
        value = math.nan if one.genes[3] == 0 else float(12 - sum(one.genes))
        return Evaluation(one, {"m": value})

    blocks = Blocks(TWELVE)
    evaluations = [score(one) for one in map(blocks.architecture, blocks.singles())]
    few = fit_table(blocks, evaluations[:-2], {"m": "minimize"}, {})
    assert few.left_out["m"] == "2 alternatives of blocks were not scored; give the search more evaluations"
    whole = fit_table(blocks, evaluations, {"m": "minimize"}, {}).quantities["m"]
    assert whole.damage.costs[3][0] == 10
    assert "compared on 0 combinations" in fit_table(blocks, evaluations, {"m": "minimize"}, {}).distrust(["m"])[0]


@pytest.mark.thorough
def test_a_search_finds_nearly_the_whole_front_of_a_space_that_is_not_additive() -> None:
    rng = np.random.default_rng(5)
    alone, size = rng.uniform(0.05, 0.5, 12), rng.uniform(0.5, 1.5, 12)

    def score(one: Architecture) -> Evaluation:
        damage = float(damage_of(np.array([one.genes]), alone, 1.5, (2, 7))[0])
        return Evaluation(one, {"kl_divergence": damage**0.9, "params": 1 + float(np.array(one.genes) @ size)})

    objectives = [Objective("kl_divergence"), Objective("params")]
    known = {"params": lambda one: score(one).metrics["params"]}
    algorithm = make_algorithm("blocks", TWELVE, objectives, evaluations=13 + 50, exact_costs=known)
    done = run_search(algorithm, each(score), {})
    every = [score(one) for one in TWELVE.every()]
    worst = [max(e.metrics[o.metric] for e in pareto_front(every, objectives)) for o in objectives]
    share = hypervolume(done, objectives, worst) / hypervolume(every, objectives, worst)
    drawn = run_search(make_algorithm("random", TWELVE, objectives, evaluations=13 + 50), each(score), {})
    assert share > 0.95 > hypervolume(drawn, objectives, worst) / hypervolume(every, objectives, worst)


def test_a_space_of_one_network_has_nothing_to_add_up() -> None:
    space = SearchSpace("one", [Choice("width", (8,))])
    done = [Evaluation(space.largest(), {"accuracy": 0.5})]
    table = fit_table(Blocks(space), done, {"accuracy": "maximize", "macs": "minimize"}, {"macs": lambda _: 3.0})
    assert table.quantities == {}
    assert table.left_out == dict.fromkeys(("accuracy", "macs"), "the space has a single network, and so no blocks")
