"""What is true of particular algorithms; what is true of all is in tests/contracts."""

import numpy as np
import pytest

from search.algorithms import make_algorithm
from search.evaluation import Evaluation
from search.loop import run_search
from search.objectives import Objective
from search.pareto import hypervolume
from search_space import Choice, SearchSpace
from search_space.plugins import UnknownPluginError

SPACE = SearchSpace("toy", [Choice(f"c{i}", (0, 1, 2, 3)) for i in range(16)])
OBJECTIVES = [Objective("accuracy", "maximize"), Objective("macs")]


def toy_scores(architecture) -> Evaluation:
    """Accuracy with falling returns, MACs growing by the square: a front across the whole space.

    Positions differ in worth and price, so only few of the genomes of one size are good.
    """
    genes = np.array(architecture.genes)
    worth, price = np.linspace(1, 3, 16), np.linspace(3, 1, 16)
    accuracy = 1 - np.exp(-(worth * genes).sum() / 30)
    macs = (price * genes**2).sum() / (price * 9).sum()
    return Evaluation(architecture, {"accuracy": float(accuracy), "macs": float(macs)}, "analytic")


def toy_hypervolume(algorithm: str, seed: int) -> float:
    made = make_algorithm(algorithm, SPACE, OBJECTIVES, seed=seed, evaluations=300)
    return hypervolume(run_search(made, toy_scores, known={}), OBJECTIVES, [0.0, 1.0])


def test_nsga2_finds_more_hypervolume_than_random_search_with_the_same_budget():
    seeds = range(5)
    nsga2 = np.mean([toy_hypervolume("nsga2", seed) for seed in seeds])
    random = np.mean([toy_hypervolume("random", seed) for seed in seeds])
    assert nsga2 > random * 1.05


def test_nsga2_starts_with_the_smallest_and_the_largest():
    first = make_algorithm("nsga2", SPACE, OBJECTIVES, seed=0, evaluations=50).ask()
    assert first[:2] == [SPACE.smallest(), SPACE.largest()]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nsga2", {"population": 1}, "Got population 1; it must be at least 2"),
        ("nsga2", {"mutation": 0.0}, r"Got a mutation probability of 0.0; it must be above 0 and at most 1"),
        ("nsga2", {"mutation": 1.1}, r"Got a mutation probability of 1.1"),
        ("random", {"batch": 0}, "Got batch 0; it must be at least 1"),
        ("nsga2", {"pop": 9}, "Algorithm 'nsga2' has no option 'pop'. Its options: population, mutation"),
        ("random", {"population": 9}, "Algorithm 'random' has no option 'population'. Its options: batch"),
    ],
)
def test_an_impossible_option_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_algorithm(name, SPACE, OBJECTIVES, **options)


def test_an_unknown_algorithm_is_refused_with_the_known_ones():
    with pytest.raises(UnknownPluginError, match=r"No search algorithm named 'guess'. Known: .*nsga2.*random"):
        make_algorithm("guess", SPACE, OBJECTIVES)


def test_nsga2_breeds_towards_feasible_architectures():
    """The random start is far from the limit; what is bred meets it more and more often."""
    objectives = [Objective("accuracy", "maximize"), Objective("macs", limit=0.1)]
    made = make_algorithm("nsga2", SPACE, objectives, seed=0, evaluations=400)
    met = [e.metrics["macs"] <= 0.1 for e in run_search(made, toy_scores, known={})]
    assert sum(met[-50:]) > 2 * sum(met[:50]) + 10
