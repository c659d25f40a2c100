"""What is true of particular algorithms; what is true of all is in tests/contracts."""

import math

import numpy as np
import pytest

from search.algorithms import make_algorithm
from search.evaluation import Evaluation
from search.loop import each, run_search
from search.objectives import Objective
from search.pareto import hypervolume, pareto_front
from search_space import Choice, SearchSpace
from search_space.plugins import UnknownPluginError
from tests.tiers import mostly_thorough

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
    return hypervolume(run_search(made, each(toy_scores), known={}), OBJECTIVES, [0.0, 1.0])


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
        ("nsga2", {"mutation": 0.0}, "Got mutation 0.0; it must be above 0 and at most 1"),
        ("nsga2", {"mutation": 1.1}, "Got mutation 1.1"),
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
    met = [e.metrics["macs"] <= 0.1 for e in run_search(made, each(toy_scores), known={})]
    assert sum(met[-50:]) > 2 * sum(met[:50]) + 10


# --- optuna's Gaussian process ------------------------------------------------------------------------


def gp_batches():
    made = make_algorithm("gp", SPACE, OBJECTIVES, seed=1, evaluations=8, batch=1, startup=6)
    asked = []
    while batch := made.ask():
        asked.append(batch[0].id)
        made.tell([toy_scores(batch[0])])
    return asked


@pytest.mark.thorough
def test_gp_asks_beyond_its_random_start_and_repeats_itself_from_its_seed():
    first = gp_batches()
    assert len(set(first)) == 8
    assert gp_batches() == first


# --- exhaustive ---------------------------------------------------------------------------------------


def test_an_exhaustive_search_of_a_large_space_is_refused_with_what_to_use():
    with pytest.raises(ValueError, match=r"has 4294967296 networks; .* at most 1000000. Use 'winnow'"):
        make_algorithm("exhaustive", SPACE, OBJECTIVES)


# --- linas and winnow -----------------------------------------------------------------------------------


LEARNING = [("linas", {"population": 30, "inner_evaluations": 1500}), ("winnow", {"batch": 15})]


@pytest.mark.parametrize(("name", "options"), mostly_thorough(LEARNING, LEARNING[1]))
def test_learning_from_scores_beats_random_search_with_twice_the_evaluations(name, options):
    def volume(algorithm, evaluations, **chosen):
        made = make_algorithm(algorithm, SPACE, OBJECTIVES, seed=0, evaluations=evaluations, **chosen)
        return hypervolume(run_search(made, each(toy_scores), known={}), OBJECTIVES, [0.0, 1.0])

    assert volume(name, 90, **options) > volume("random", 180) * 1.05


def test_winnow_learns_from_a_warm_start_before_its_first_batch():
    stored = run_search(make_algorithm("nsga2", SPACE, OBJECTIVES, seed=0, evaluations=100), each(toy_scores), known={})
    made = make_algorithm("winnow", SPACE, OBJECTIVES, seed=0, evaluations=40, warm_start=stored, batch=10)
    added = hypervolume([*stored, *run_search(made, each(toy_scores), known={})], OBJECTIVES, [0.0, 1.0])
    assert added > hypervolume(stored, OBJECTIVES, [0.0, 1.0]) * 1.05


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["linas", "winnow"])
def test_exact_costs_of_candidates_are_asked_for_without_evaluating_them(name):
    """The functions see far more networks than the budget has evaluations, and limits on them are met at once."""
    seen = set()

    def macs(architecture) -> float:
        seen.add(architecture.id)
        return toy_scores(architecture).metrics["macs"]

    options = {"population": 20, "inner_evaluations": 1000} if name == "linas" else {"batch": 10}
    made = make_algorithm(
        name,
        SPACE,
        [Objective("accuracy", "maximize"), Objective("macs", limit=0.15)],
        seed=0,
        evaluations=60,
        exact_costs={"macs": macs},
        **options,
    )
    done = run_search(made, each(toy_scores), known={})
    assert len(seen) > 10 * len(done)
    late = [e.metrics["macs"] <= 0.15 for e in done[-20:]]
    assert sum(late) >= 18


def test_winnow_finds_what_meets_a_limit_that_no_random_start_meets():
    objectives = [Objective("accuracy", "maximize", limit=0.93), Objective("macs")]
    made = make_algorithm("winnow", SPACE, objectives, seed=2, evaluations=60)
    done = run_search(made, each(toy_scores), known={})
    assert sum(e.metrics["accuracy"] >= 0.93 for e in done[10:]) > 20


def test_winnow_avoids_what_gives_no_score():
    """A third of the space fails; after the start hardly anything is spent there."""

    def broken(architecture):
        fine = toy_scores(architecture)
        return Evaluation(architecture, {**fine.metrics, "accuracy": math.nan}) if architecture.genes[3] == 2 else fine

    made = make_algorithm("winnow", SPACE, OBJECTIVES, seed=0, evaluations=90, batch=10, initial=30)
    failed = [math.isnan(e.metrics["accuracy"]) for e in run_search(made, each(broken), known={})]
    assert sum(failed[:30]) >= 3
    assert sum(failed[-30:]) <= 3


def test_random_search_over_a_cost_sees_small_and_large_networks():
    from predictors.cost import macs
    from search_space.plugins import load_family

    space = load_family("mobilenet", "cifar")
    low, high = macs(space, space.smallest()), macs(space, space.largest())

    def share_of_largest_fifth(over: str) -> float:
        algorithm = make_algorithm("random", space, [Objective("macs")], evaluations=200, batch=200, over=over)
        drawn = [(macs(space, architecture) - low) / (high - low) for architecture in algorithm.ask()]
        return sum(share > 0.8 for share in drawn) / len(drawn)

    assert 0.12 < share_of_largest_fifth("macs") < 0.28
    assert share_of_largest_fifth("genes") < 0.05


def test_random_search_over_a_cost_needs_layers():
    bare = SearchSpace("bare", [Choice("a", (1, 2))])
    with pytest.raises(ValueError, match="has no layers, so no params to be uniform over"):
        make_algorithm("random", bare, [Objective("m")], over="params")
    with pytest.raises(ValueError, match="Got over 'latency'; it must be genes, params or macs"):
        make_algorithm("random", bare, [Objective("m")], over="latency")


# --- architecture and policy together ----------------------------------------------------------------

LAYERS = 40
ARCHITECTURES = [Choice(f"width{i}", (0, 1, 2, 3)) for i in range(8)]
POLICIES = [Choice(f"layer{i}_bits", (8, 32), None, "bits") for i in range(LAYERS)]
JOINT, ALONE = SearchSpace("joint", [*ARCHITECTURES, *POLICIES]), SearchSpace("alone", ARCHITECTURES)
COSTS = [Objective("perplexity"), Objective("latency_ms"), Objective("size_bytes")]
SENSITIVITY = np.random.default_rng(5).exponential(1, LAYERS) ** 2
PRICE = np.random.default_rng(6).uniform(0.5, 2, 8)


def device_scores(genes) -> dict[str, float]:
    """A made-up device: 8 bits take half the time, neighbours that differ a conversion; few layers are sensitive."""
    widths, wide = np.array(genes[:8]), np.array(genes[8:])
    channels, prices = 1 + widths.repeat(LAYERS // 8), PRICE.repeat(LAYERS // 8)
    lost = SENSITIVITY[wide == 0].sum() / SENSITIVITY.sum()
    return {
        "perplexity": float(0.1 + 0.5 * np.exp(-(PRICE * widths).sum() / 10) + 0.03 * lost),
        "latency_ms": float((prices * channels * np.where(wide, 1, 0.5)).sum() + 0.8 * np.abs(np.diff(wide)).sum()),
        "size_bytes": float((channels * np.where(wide, 32, 8)).sum()),
    }


def device_volume(scored) -> float:
    def scaled(scores):
        return {
            name: scores[name] / most
            for name, most in (("perplexity", 0.65), ("latency_ms", 220), ("size_bytes", 5200))
        }

    return hypervolume([Evaluation(a, scaled(device_scores(genes))) for a, genes in scored], COSTS, [1.1] * 3)


def searched(space, evaluations, seed, scores, **options) -> list[Evaluation]:
    exact = {"size_bytes": lambda a: scores(a.genes)["size_bytes"]}
    made = make_algorithm("winnow", space, COSTS, seed=seed, evaluations=evaluations, exact_costs=exact, **options)
    return run_search(made, each(lambda a: Evaluation(a, scores(a.genes))), known={})


@pytest.mark.thorough
def test_policies_and_architectures_together_are_better_than_one_after_the_other():
    """As many evaluations each: the narrow forms of a front in full precision count as well."""
    joint, after = [], []
    ends = [JOINT.from_genes([width] * 8 + [bits] * LAYERS) for width in (3, 0) for bits in (0, 1)]
    for seed in range(3):
        front = pareto_front(searched(ALONE, 30, seed, lambda genes: device_scores([*genes, *[1] * LAYERS])), COSTS)
        after.append(device_volume([(e.architecture, [*e.architecture.genes, *[0] * LAYERS]) for e in front]))
        found = searched(JOINT, 30 + len(front), seed, device_scores, seeds=ends)
        joint.append(device_volume([(e.architecture, e.architecture.genes) for e in found]))
    assert np.mean(joint) > np.mean(after) + 0.002
