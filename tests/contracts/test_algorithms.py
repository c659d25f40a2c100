"""Contract of a search algorithm, whatever it is."""

import math
from functools import cache

import numpy as np
import pytest

from job.spec import ALGORITHM_OPTIONS
from search.algorithms import make_algorithm, option_names
from search.evaluation import Evaluation
from search.loop import each, run_search
from search.objectives import Constraint, Objective
from search.pareto import pareto_front
from search_space import Choice, SearchSpace, plugins

NAMES = plugins.names("search.algorithms")
pytestmark = pytest.mark.parametrize("name", NAMES)
thorough = pytest.mark.thorough

SPACE = SearchSpace(
    "contract",
    [
        Choice("depth", (1, 2, 3)),
        *(Choice(f"block{b}", (0, 1, 2, 3), when=("depth", tuple(range(b, 4))) if b > 1 else None) for b in (1, 2, 3)),
        *(Choice(f"free{i}", (0, 1, 2)) for i in range(4)),
    ],
)
# Options under which the slow ones show the same behaviour in a second; their defaults are tested below.
QUICK = {
    # Each ask of optuna's sampler takes a second or more here; tests/search/test_algorithms.py has a few real ones.
    "gp": {"batch": 10, "startup": 200},
    "linas": {"inner_evaluations": 200, "population": 40},
    "tpe": {"batch": 5, "startup": 50},
    "winnow": {"batch": 20},
}
# Enough that the slow ones learn of what they were told, a few times.
BUDGET = 60
OBJECTIVES = [Objective("m0", "maximize"), Objective("m1"), Objective("m2"), Objective("m3", "maximize")]


def score(architecture) -> Evaluation:
    """Four metrics that disagree."""
    genes = architecture.genes
    metrics = {
        "m0": float(sum(genes)),
        "m1": float(sum(g * g for g in genes)),
        "m2": float(sum((g - 1) ** 2 * (i + 1) for i, g in enumerate(genes))),
        "m3": float(genes[0] - genes[-1]),
    }
    return Evaluation(architecture, metrics, "analytic")


def make(name, space=SPACE, objectives=OBJECTIVES[:2], **shared):
    return make_algorithm(name, space, objectives, **shared, **QUICK.get(name, {}))


def search(
    name, *, space=SPACE, objectives=OBJECTIVES[:2], seed=0, evaluations=BUDGET, evaluate=score, known=None, **shared
):
    """Run to the end; the batches that were asked, as ids, and the evaluations."""
    algorithm = make(name, space, objectives, seed=seed, evaluations=evaluations, **shared)
    batches, done = [], []
    while batch := algorithm.ask():
        told = [(known or {}).get(architecture.id) or evaluate(architecture) for architecture in batch]
        algorithm.tell(told)
        batches.append([architecture.id for architecture in batch])
        done += told
        assert len(done) <= evaluations, "the budget is overspent"
    return batches, done


@cache
def searched(name):
    """A search as `search` makes it by default, run once for all tests that look at it."""
    return search(name)


def test_no_architecture_is_asked_twice(name):
    batches, _ = searched(name)
    asked = [architecture_id for batch in batches for architecture_id in batch]
    assert len(set(asked)) == len(asked)


@pytest.mark.parametrize("evaluations", [1, pytest.param(7, marks=thorough), pytest.param(50, marks=thorough), BUDGET])
def test_the_budget_is_spent_to_the_last_evaluation(name, evaluations):
    _, done = searched(name) if evaluations == BUDGET else search(name, evaluations=evaluations)
    assert len(done) == evaluations


def test_after_the_budget_nothing_is_asked(name):
    algorithm = make_algorithm(name, SPACE, OBJECTIVES[:2], seed=0, evaluations=5)
    while batch := algorithm.ask():
        algorithm.tell([score(architecture) for architecture in batch])
    assert algorithm.ask() == []


@pytest.mark.parametrize("options", [(1, 2), (1, 2, 3)])
def test_a_space_smaller_than_the_budget_is_searched_whole_and_then_the_search_ends(name, options):
    small = SearchSpace("small", [Choice(f"c{i}", options) for i in range(3)])
    _, done = search(name, space=small, evaluations=200)
    assert len({evaluation.architecture.id for evaluation in done}) == len(done) == small.size()


def test_a_space_of_one_architecture_is_searched(name):
    _, done = search(name, space=SearchSpace("one", [Choice("c", (1,))]))
    assert len(done) == 1


def test_the_same_seed_and_scores_give_the_same_proposals(name):
    assert search(name, seed=3)[0] == search(name, seed=3)[0]


def test_another_seed_gives_other_proposals(name):
    assert search(name, seed=3)[0] != search(name, seed=4)[0]


@pytest.mark.parametrize("stored", [pytest.param(1, marks=thorough), 30, pytest.param(BUDGET - 1, marks=thorough)])
def test_replay_of_stored_evaluations_gives_the_same_proposals(name, stored):
    batches, done = searched(name)
    known = {evaluation.architecture.id: evaluation for evaluation in done[:stored]}
    assert search(name, known=known)[0] == batches


def test_the_order_within_a_batch_does_not_matter(name):
    forward = searched(name)[0]
    algorithm = make(name, seed=0, evaluations=BUDGET)
    backward = []
    while batch := algorithm.ask():
        backward.append([architecture.id for architecture in batch])
        algorithm.tell([score(architecture) for architecture in reversed(batch)])
    assert backward == forward


@pytest.mark.parametrize("count", [1, 2, pytest.param(3, marks=thorough), 4])
def test_one_to_four_objectives_are_searched(name, count):
    _, done = searched(name) if count == 2 else search(name, objectives=OBJECTIVES[:count])
    assert len(done) == BUDGET
    assert pareto_front(done, OBJECTIVES[:count])


def test_with_limits_the_front_is_feasible(name):
    objectives = [Objective("m0", "maximize", limit=5), Objective("m1", limit=14)]
    _, done = search(name, objectives=objectives)
    front = pareto_front(done, objectives)
    assert front
    assert all(e.metrics["m0"] >= 5 and e.metrics["m1"] <= 14 for e in front)


def test_limits_that_nothing_meets_end_with_an_empty_front(name):
    objectives = [Objective("m0", "maximize", limit=1000), Objective("m1")]
    _, done = search(name, objectives=objectives)
    assert len(done) == BUDGET
    assert pareto_front(done, objectives) == []


def some_not_a_number(architecture) -> Evaluation:
    """Every network with an odd first choice fails to give a score."""
    good = score(architecture)
    broken = {**good.metrics, "m0": math.nan} if architecture.genes[0] % 2 else good.metrics
    return Evaluation(architecture, broken, "measured")


def test_scores_that_are_not_numbers_neither_stop_the_search_nor_reach_the_front(name):
    for objectives in (OBJECTIVES[:2], [Objective("m0", "maximize", limit=2), Objective("m1")]):
        _, done = search(name, objectives=objectives, evaluate=some_not_a_number)
        assert len(done) == BUDGET
        assert any(math.isnan(e.metrics["m0"]) for e in done)
        front = pareto_front(done, objectives)
        assert front
        assert not any(math.isnan(value) for e in front for value in e.metrics.values())


def test_scores_that_are_never_numbers_end_with_an_empty_front(name):
    def broken(architecture):
        return Evaluation(architecture, dict.fromkeys(("m0", "m1"), math.nan), "measured")

    _, done = search(name, evaluate=broken)
    assert len(done) == BUDGET
    assert pareto_front(done, OBJECTIVES[:2]) == []


def test_an_endless_score_does_not_stop_the_search(name):
    def endless(architecture):
        return Evaluation(architecture, {"m0": math.inf, "m1": -math.inf}, "measured")

    assert len(search(name, evaluate=endless)[1]) == BUDGET


@pytest.mark.parametrize("evaluations", [0, -1])
def test_a_budget_below_one_is_refused(name, evaluations):
    with pytest.raises(ValueError, match=f"Got a budget of {evaluations} evaluations; it must be at least 1"):
        make_algorithm(name, SPACE, OBJECTIVES, evaluations=evaluations)


def test_a_search_without_objectives_is_refused(name):
    with pytest.raises(ValueError, match="at least one objective"):
        make_algorithm(name, SPACE, [])


def test_what_was_not_asked_cannot_be_told(name):
    algorithm = make(name)
    with pytest.raises(ValueError, match="Nothing was asked"):
        algorithm.tell([])
    algorithm.ask()
    with pytest.raises(ValueError, match="tell each batch once and whole"):
        algorithm.tell([])
    with pytest.raises(ValueError, match="tell their scores first"):
        algorithm.ask()


def test_more_than_four_objectives_or_one_twice_are_refused(name):
    with pytest.raises(ValueError, match="Got 5 objectives; a search can have at most 4"):
        make_algorithm(name, SPACE, [Objective(f"m{i}") for i in range(5)])
    with pytest.raises(ValueError, match="Objective 'm1' is listed twice"):
        make_algorithm(name, SPACE, [Objective("m1"), Objective("m1")])


def test_a_limit_on_a_metric_that_is_no_objective_is_honoured(name):
    constraints = [Constraint("m2", 30.0), Constraint("m3", 0.0, "maximize")]
    _, done = search(name, constraints=constraints)
    assert len(done) == BUDGET
    front = pareto_front(done, OBJECTIVES[:2], constraints)
    assert front
    assert all(e.metrics["m2"] <= 30 and e.metrics["m3"] >= 0 for e in front)


def test_conflicting_limits_are_refused(name):
    with pytest.raises(ValueError, match="Metric 'm0' has a limit twice or is an objective already"):
        make_algorithm(name, SPACE, OBJECTIVES[:1], constraints=[Constraint("m0", 3.0)])


def test_seeds_are_asked_first(name):
    rng = np.random.default_rng(9)
    seeds = [SPACE.sample(rng) for _ in range(3)]
    _, done = search(name, seeds=seeds, evaluations=60)
    first = [e.architecture for e in done[:5]]
    assert {seed.id for seed in seeds} <= {architecture.id for architecture in first}


def test_a_warm_start_is_neither_asked_again_nor_counted(name):
    _, stored = search("random", evaluations=40)
    _, done = search(name, warm_start=stored, evaluations=60)
    assert len(done) == 60
    assert not {e.architecture.id for e in stored} & {e.architecture.id for e in done}


def test_exact_costs_are_computed_and_give_the_same_contract(name):
    asked: list[str] = []

    def exact(architecture) -> float:
        asked.append(architecture.id)
        return score(architecture).metrics["m1"]

    batches, done = search(name, exact_costs={"m1": exact})
    assert len(done) == BUDGET
    assert search(name, exact_costs={"m1": exact})[0] == batches


def test_options_of_a_job_are_the_algorithms_own(name):
    algorithm = plugins.load("search.algorithms", name, "search algorithm").ALGORITHM
    assert set(ALGORITHM_OPTIONS[name].model_fields) == set(option_names(algorithm))


def test_default_options_of_a_job_make_the_same_search(name):
    options = ALGORITHM_OPTIONS[name]().model_dump()
    # optuna's Gaussian process needs seconds for one proposal with so many scores; its first are random.
    budget = 11 if name == "gp" else 40
    algorithm = make_algorithm(name, SPACE, OBJECTIVES, seed=5, evaluations=budget, **options)
    default = make_algorithm(name, SPACE, OBJECTIVES, seed=5, evaluations=budget)
    ids = [[e.architecture.id for e in run_search(made, each(score), known={})] for made in (algorithm, default)]
    assert ids[0] == ids[1]
