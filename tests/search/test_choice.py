"""Rules that choose a network of a front, and when the knee needs none."""

import math
from dataclasses import replace

import pytest

from search.choice import NoneMeets, Rule, choose, is_near, quality_of
from search.evaluation import Evaluation
from search.objectives import Objective
from search_space import Choice, SearchSpace

SPACE = SearchSpace("s", [Choice("c", tuple(range(8)))])
ACCURATE = [Objective("accuracy", "maximize"), Objective("latency_ms"), Objective("size_bytes")]


def front(*rows: dict[str, float]) -> list[Evaluation]:
    return [Evaluation(SPACE.architecture(c=number), row) for number, row in enumerate(rows)]


THREE = front(
    {"accuracy": 0.9, "latency_ms": 9.0, "size_bytes": 900.0, "test_accuracy": 0.8},
    {"accuracy": 0.8, "latency_ms": 4.0, "size_bytes": 100.0, "test_accuracy": 0.7},
    {"accuracy": 0.5, "latency_ms": 1.0, "size_bytes": 400.0, "test_accuracy": 0.5},
)
PERPLEXED = front({"perplexity": 9.0, "size_bytes": 1.0}, {"perplexity": 5.0, "size_bytes": 3.0})


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [
        (Rule("most_accurate"), 0),
        (Rule("knee"), 1),
        (Rule("most_accurate", {"latency_ms": 4.0}), 1),
        (Rule("most_accurate", {"latency_ms": 3.9}), 2),
        (Rule("most_accurate", {"latency_ms": 10, "size_bytes": 500}), 1),
        (Rule("most_accurate", {"size_bytes": 899, "latency_ms": 2}), 2),
        (Rule("knee", {"latency_ms": 1.5}), 2),
    ],
)
def test_a_rule_chooses_among_those_under_its_limits(rule, chosen):
    assert choose(THREE, ACCURATE, rule).architecture.values["c"] == chosen


@pytest.mark.parametrize(("low", "chosen"), [(0.85, 0), (0.8, 1), (0.7, 1), (0.4, 2)])
def test_as_good_is_the_cheapest_whose_score_the_best_might_have_had(low, chosen):
    best, *others = THREE
    sampled = replace(best, intervals={"accuracy": (low, 0.95)})
    assert choose([sampled, *others], ACCURATE, Rule("as_good")).architecture.values["c"] == chosen
    # A score without an interval is exact, so nothing else is as good.
    assert choose(THREE, ACCURATE, Rule("as_good")).architecture.values["c"] == 0
    # Limits come first: the best is the best among those that keep them.
    assert choose([sampled, *others], ACCURATE, Rule("as_good", {"latency_ms": 2})).architecture.values["c"] == 2


def test_as_good_of_perplexities_is_below_the_upper_end():
    tied = [replace(PERPLEXED[1], intervals={"perplexity": (4.0, 9.5)}), PERPLEXED[0]]
    goals = [Objective("perplexity"), Objective("size_bytes")]
    assert choose(tied, goals, Rule("as_good")).metrics["size_bytes"] == 1.0
    assert choose(tied, goals[:1], Rule("as_good")).metrics["perplexity"] == 5.0  # no cost to be cheaper in


def test_of_language_models_the_most_accurate_has_the_lowest_perplexity():
    objectives = [Objective("size_bytes"), Objective("perplexity")]
    assert choose(PERPLEXED, objectives, Rule("most_accurate")).metrics["perplexity"] == 5.0
    assert quality_of([Objective("size_bytes")], PERPLEXED[0].metrics) == "perplexity"


def test_a_score_that_is_no_number_is_never_the_most_accurate():
    mixed = front({"accuracy": math.nan, "latency_ms": 1.0}, {"accuracy": 0.2, "latency_ms": 2.0})
    assert choose(mixed, ACCURATE[:1], Rule("most_accurate")).metrics["accuracy"] == 0.2
    unmeasured = front({"accuracy": 0.9, "latency_ms": math.nan}, {"accuracy": 0.2, "latency_ms": 2.0})
    assert choose(unmeasured, ACCURATE[:1], Rule("most_accurate", {"latency_ms": 5})).metrics["accuracy"] == 0.2


def test_where_no_network_is_under_the_limits_the_nearest_is_named():
    with pytest.raises(NoneMeets, match=r"latency_ms of at most 0.5.*nearest is .* with latency_ms 1"):
        choose(THREE, ACCURATE, Rule("most_accurate", {"latency_ms": 0.5}))


@pytest.mark.parametrize(
    ("under", "says"),
    [
        ({"speed": 5}, "No network of the front has 'speed'. Known: latency_ms, size_bytes"),
        ({"accuracy": 0.9}, "More of accuracy is better"),
        ({"test_accuracy": 0.9}, "More of test_accuracy is better"),
        ({"latency_ms": math.nan}, "finite"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(under, says):
    with pytest.raises(ValueError, match=says):
        choose(THREE, ACCURATE, Rule("most_accurate", under))


@pytest.mark.parametrize(
    ("metric", "value", "reference", "near"),
    [
        ("accuracy", 0.94, 0.95, True),
        ("accuracy", 0.939, 0.95, False),
        ("accuracy", 0.99, 0.95, True),
        ("perplexity", 1410.0, 4.2, False),
        ("perplexity", 4.4, 4.2, True),
        ("perplexity", 4.42, 4.2, False),
        ("perplexity", 3.0, 4.2, True),
        ("accuracy", math.nan, 0.9, False),
        ("accuracy", 0.9, math.nan, False),
    ],
)
def test_the_knee_needs_no_rule_within_the_stated_loss(metric, value, reference, near):
    assert is_near(metric, value, reference) is near
