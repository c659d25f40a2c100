"""Contract of a search algorithm, whatever it is.

An algorithm whose asks are slow says in its `example.py` under which options it shows the same behaviour in a second
(`QUICK`), and how many evaluations are enough to see its defaults (`DEFAULT_EVALUATIONS`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import pytest

from plugins import kinds
from search.algorithm import SearchAlgorithm
from search.algorithms import make_algorithm
from search.evaluation import Evaluation
from search.fidelities.known import Fidelities
from search.fidelities.ladder import Ladder
from search.fidelities.plan import LadderPlan
from search.loop import each, run_search
from search.metrics import Source
from search.objectives import Constraint, Objective
from search.pareto import pareto_front
from search.problem import ExactCost, Problem
from search_space import Architecture, Choice, SearchSpace
from winnow.testing.contract import Declared, example

SPACE = SearchSpace(
    "contract",
    [
        Choice("depth", (1, 2, 3)),
        *(Choice(f"block{b}", (0, 1, 2, 3), when=("depth", tuple(range(b, 4))) if b > 1 else None) for b in (1, 2, 3)),
        *(Choice(f"free{i}", (0, 1, 2)) for i in range(4)),
    ],
)
# Enough that the slow ones learn of what they were told, a few times.
BUDGET = 60
# Of a search with default options.
DEFAULT_EVALUATIONS = 40
OBJECTIVES = [Objective("m0", "maximize"), Objective("m1"), Objective("m2"), Objective("m3", "maximize")]


def score(architecture: Architecture) -> Evaluation:
    """Four metrics that disagree."""
    genes = architecture.genes
    metrics = {
        "m0": float(sum(genes)),
        "m1": float(sum(g * g for g in genes)),
        "m2": float(sum((g - 1) ** 2 * (i + 1) for i, g in enumerate(genes))),
        "m3": float(genes[0] - genes[-1]),
    }
    return Evaluation(architecture, metrics, Source.ANALYTIC)


def some_not_a_number(architecture: Architecture) -> Evaluation:
    """Every network with an odd first choice fails to give a score."""
    good = score(architecture)
    broken = {**good.metrics, "m0": math.nan} if architecture.genes[0] % 2 else good.metrics
    return Evaluation(architecture, broken, Source.MEASURED)


def make(
    plugin: str,
    space: SearchSpace = SPACE,
    objectives: Sequence[Objective] = OBJECTIVES[:2],
    *,
    seed: int = 0,
    evaluations: int = 250,
    constraints: Sequence[Constraint] = (),
    exact_costs: Mapping[str, ExactCost] | None = None,
    warm_start: Sequence[Evaluation] = (),
    seeds: Sequence[Architecture] = (),
) -> SearchAlgorithm:
    """The algorithm with the options under which it is quick."""
    problem = Problem(
        space, tuple(objectives), tuple(constraints), dict(exact_costs or {}), tuple(warm_start), tuple(seeds)
    )
    quick = example(kinds.ALGORITHMS, plugin, "QUICK", None) or kinds.ALGORITHMS.options(plugin).OPTIONS()
    made: SearchAlgorithm = kinds.ALGORITHMS.load(plugin).ALGORITHM(
        problem, seed=seed, evaluations=evaluations, options=quick
    )
    return made


def search(
    plugin: str,
    *,
    space: SearchSpace = SPACE,
    objectives: Sequence[Objective] = OBJECTIVES[:2],
    seed: int = 0,
    evaluations: int = BUDGET,
    evaluate: Callable[[Architecture], Evaluation] = score,
    known: Mapping[str, Evaluation] | None = None,
    constraints: Sequence[Constraint] = (),
    exact_costs: Mapping[str, ExactCost] | None = None,
    warm_start: Sequence[Evaluation] = (),
    seeds: Sequence[Architecture] = (),
) -> tuple[list[list[str]], list[Evaluation]]:
    """Run to the end; the batches that were asked, as ids, and the evaluations."""
    algorithm = make(
        plugin,
        space,
        objectives,
        seed=seed,
        evaluations=evaluations,
        constraints=constraints,
        exact_costs=exact_costs,
        warm_start=warm_start,
        seeds=seeds,
    )
    batches: list[list[str]] = []
    done: list[Evaluation] = []
    while batch := algorithm.ask():
        told = [(known or {}).get(architecture.id) or evaluate(architecture) for architecture in batch]
        algorithm.tell(told)
        batches.append([architecture.id for architecture in batch])
        done += told
        assert len(done) <= evaluations, "the budget is overspent"
    return batches, done


@cache
def searched(plugin: str) -> tuple[list[list[str]], list[Evaluation]]:
    """A search as `search` makes it by default, run once for all tests that look at it."""
    return search(plugin)


class AlgorithmContract(Declared):
    """What holds of every search algorithm."""

    kind = kinds.ALGORITHMS

    def test_an_option_that_it_does_not_have_is_refused(self, plugin: str) -> None:
        """The refusal names the options that the algorithm has."""
        with pytest.raises(ValueError, match=f"Algorithm '{plugin}' has no option 'nonsuch'. Its options: "):
            make_algorithm(plugin, SPACE, OBJECTIVES, nonsuch=1)

    def test_no_architecture_is_asked_twice(self, plugin: str) -> None:
        batches, _ = searched(plugin)
        asked = [architecture_id for batch in batches for architecture_id in batch]
        assert len(set(asked)) == len(asked)

    @pytest.mark.parametrize("evaluations", [1, 7, 50, BUDGET])
    def test_the_budget_is_spent_to_the_last_evaluation(self, plugin: str, evaluations: int) -> None:
        _, done = searched(plugin) if evaluations == BUDGET else search(plugin, evaluations=evaluations)
        assert len(done) == evaluations

    def test_after_the_budget_nothing_is_asked(self, plugin: str) -> None:
        algorithm = make_algorithm(plugin, SPACE, OBJECTIVES[:2], seed=0, evaluations=5)
        while batch := algorithm.ask():
            algorithm.tell([score(architecture) for architecture in batch])
        assert algorithm.ask() == []

    @pytest.mark.parametrize("options", [(1, 2), (1, 2, 3)])
    def test_a_space_smaller_than_the_budget_is_searched_whole_and_then_the_search_ends(
        self, plugin: str, options: tuple[int, ...]
    ) -> None:
        small = SearchSpace("small", [Choice(f"c{i}", options) for i in range(3)])
        _, done = search(plugin, space=small, evaluations=200)
        assert len({evaluation.architecture.id for evaluation in done}) == len(done) == small.size()

    def test_a_space_of_one_architecture_is_searched(self, plugin: str) -> None:
        _, done = search(plugin, space=SearchSpace("one", [Choice("c", (1,))]))
        assert len(done) == 1

    def test_the_same_seed_and_scores_give_the_same_proposals(self, plugin: str) -> None:
        assert search(plugin, seed=3)[0] == search(plugin, seed=3)[0]

    def test_another_seed_gives_other_proposals(self, plugin: str) -> None:
        assert search(plugin, seed=3)[0] != search(plugin, seed=4)[0]

    @pytest.mark.parametrize("stored", [1, 30, BUDGET - 1])
    def test_replay_of_stored_evaluations_gives_the_same_proposals(self, plugin: str, stored: int) -> None:
        batches, done = searched(plugin)
        known = {evaluation.architecture.id: evaluation for evaluation in done[:stored]}
        assert search(plugin, known=known)[0] == batches

    def test_the_order_within_a_batch_does_not_matter(self, plugin: str) -> None:
        forward = searched(plugin)[0]
        algorithm = make(plugin, seed=0, evaluations=BUDGET)
        backward = []
        while batch := algorithm.ask():
            backward.append([architecture.id for architecture in batch])
            algorithm.tell([score(architecture) for architecture in reversed(batch)])
        assert backward == forward

    @pytest.mark.parametrize("count", [1, 2, 3, 4])
    def test_one_to_four_objectives_are_searched(self, plugin: str, count: int) -> None:
        _, done = searched(plugin) if count == 2 else search(plugin, objectives=OBJECTIVES[:count])
        assert len(done) == BUDGET
        assert pareto_front(done, OBJECTIVES[:count])

    def test_with_limits_the_front_is_feasible(self, plugin: str) -> None:
        objectives = [Objective("m0", "maximize", limit=5), Objective("m1", limit=14)]
        _, done = search(plugin, objectives=objectives)
        front = pareto_front(done, objectives)
        assert front
        assert all(e.metrics["m0"] >= 5 and e.metrics["m1"] <= 14 for e in front)

    def test_limits_that_nothing_meets_end_with_an_empty_front(self, plugin: str) -> None:
        objectives = [Objective("m0", "maximize", limit=1000), Objective("m1")]
        _, done = search(plugin, objectives=objectives)
        assert len(done) == BUDGET
        assert pareto_front(done, objectives) == []

    def test_scores_that_are_not_numbers_neither_stop_the_search_nor_reach_the_front(self, plugin: str) -> None:
        for objectives in (OBJECTIVES[:2], [Objective("m0", "maximize", limit=2), Objective("m1")]):
            _, done = search(plugin, objectives=objectives, evaluate=some_not_a_number)
            assert len(done) == BUDGET
            assert any(math.isnan(e.metrics["m0"]) for e in done)
            front = pareto_front(done, objectives)
            assert front
            assert not any(math.isnan(value) for e in front for value in e.metrics.values())

    def test_scores_that_are_never_numbers_end_with_an_empty_front(self, plugin: str) -> None:
        def broken(architecture: Architecture) -> Evaluation:
            return Evaluation(architecture, dict.fromkeys(("m0", "m1"), math.nan), Source.MEASURED)

        _, done = search(plugin, evaluate=broken)
        assert len(done) == BUDGET
        assert pareto_front(done, OBJECTIVES[:2]) == []

    def test_an_endless_score_does_not_stop_the_search(self, plugin: str) -> None:
        def endless(architecture: Architecture) -> Evaluation:
            return Evaluation(architecture, {"m0": math.inf, "m1": -math.inf}, Source.MEASURED)

        assert len(search(plugin, evaluate=endless)[1]) == BUDGET

    @pytest.mark.parametrize("evaluate", [score, some_not_a_number])
    def test_networks_that_heal_a_little_climb_as_planned_and_are_replayed(
        self, plugin: str, evaluate: Callable[[Architecture], Evaluation]
    ) -> None:
        def heal(architecture: Architecture, level: int) -> Evaluation:
            metrics = evaluate(architecture).metrics
            return Evaluation(architecture, {**metrics, "m0": metrics["m0"] + level * architecture.genes[-1]})

        def climbed() -> list[list[str]]:
            algorithm = make(plugin, evaluations=BUDGET)
            known = Fidelities(OBJECTIVES[:2], (), 2, {"m0"}, SPACE.largest().id)
            chooser = algorithm.chooser(known)
            assert chooser.waves[-1] == 1
            ladder = Ladder(LadderPlan((10, 40), 8, 0.5), chooser, known, heal, BUDGET)
            assert len(run_search(algorithm, each(evaluate), {}, ladder)) == BUDGET
            return [list(level) for level in known.levels[1:]]

        first, second = climbed()
        assert (len(first), len(second)) == (8, 4)
        assert set(second) < set(first)
        assert SPACE.largest().id not in first
        assert climbed() == [first, second]

    @pytest.mark.parametrize("evaluations", [0, -1])
    def test_a_budget_below_one_is_refused(self, plugin: str, evaluations: int) -> None:
        with pytest.raises(ValueError, match=f"Got a budget of {evaluations} evaluations; it must be at least 1"):
            make_algorithm(plugin, SPACE, OBJECTIVES, evaluations=evaluations)

    def test_a_search_without_objectives_is_refused(self, plugin: str) -> None:
        with pytest.raises(ValueError, match="at least one objective"):
            make_algorithm(plugin, SPACE, [])

    def test_what_was_not_asked_cannot_be_told(self, plugin: str) -> None:
        algorithm = make(plugin)
        with pytest.raises(ValueError, match="Nothing was asked"):
            algorithm.tell([])
        algorithm.ask()
        with pytest.raises(ValueError, match="tell each batch once and whole"):
            algorithm.tell([])
        with pytest.raises(ValueError, match="tell their scores first"):
            algorithm.ask()

    def test_more_than_four_objectives_or_one_twice_are_refused(self, plugin: str) -> None:
        with pytest.raises(ValueError, match="Got 5 objectives; a search can have at most 4"):
            make_algorithm(plugin, SPACE, [Objective(f"m{i}") for i in range(5)])
        with pytest.raises(ValueError, match="Objective 'm1' is listed twice"):
            make_algorithm(plugin, SPACE, [Objective("m1"), Objective("m1")])

    def test_a_limit_on_a_metric_that_is_no_objective_is_honoured(self, plugin: str) -> None:
        constraints = [Constraint("m2", 30.0), Constraint("m3", 0.0, "maximize")]
        _, done = search(plugin, constraints=constraints)
        assert len(done) == BUDGET
        front = pareto_front(done, OBJECTIVES[:2], constraints)
        assert front
        assert all(e.metrics["m2"] <= 30 and e.metrics["m3"] >= 0 for e in front)

    def test_conflicting_limits_are_refused(self, plugin: str) -> None:
        with pytest.raises(ValueError, match="Metric 'm0' has a limit twice or is an objective already"):
            make_algorithm(plugin, SPACE, OBJECTIVES[:1], constraints=[Constraint("m0", 3.0)])

    def test_seeds_are_asked_first(self, plugin: str) -> None:
        rng = np.random.default_rng(9)
        seeds = [SPACE.sample(rng) for _ in range(3)]
        _, done = search(plugin, seeds=seeds, evaluations=60)
        first = [e.architecture for e in done[:5]]
        assert {seed.id for seed in seeds} <= {architecture.id for architecture in first}

    def test_a_warm_start_is_neither_asked_again_nor_counted(self, plugin: str) -> None:
        _, stored = search("random", evaluations=40)
        _, done = search(plugin, warm_start=stored, evaluations=60)
        assert len(done) == 60
        assert not {e.architecture.id for e in stored} & {e.architecture.id for e in done}

    def test_exact_costs_are_computed_and_give_the_same_contract(self, plugin: str) -> None:
        asked: list[str] = []

        def exact(architecture: Architecture) -> float:
            asked.append(architecture.id)
            return score(architecture).metrics["m1"]

        batches, done = search(plugin, exact_costs={"m1": exact})
        assert len(done) == BUDGET
        assert search(plugin, exact_costs={"m1": exact})[0] == batches

    def test_default_options_of_a_job_make_the_same_search(self, plugin: str) -> None:
        options = self.declared(plugin)().model_dump()
        budget = example(kinds.ALGORITHMS, plugin, "DEFAULT_EVALUATIONS", DEFAULT_EVALUATIONS)
        algorithm = make_algorithm(plugin, SPACE, OBJECTIVES, seed=5, evaluations=budget, **options)
        default = make_algorithm(plugin, SPACE, OBJECTIVES, seed=5, evaluations=budget)
        ids = [[e.architecture.id for e in run_search(made, each(score), known={})] for made in (algorithm, default)]
        assert ids[0] == ids[1]
