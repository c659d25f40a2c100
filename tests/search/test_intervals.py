"""Intervals against numbers from the literature, against drawing anew, and what they decide about a front."""

from __future__ import annotations

import math

import numpy as np
import pytest

from search.chances import Belief, chances
from search.evaluation import Evaluation
from search.final_front import final_front, in_words
from search.intervals import around, mean_of_shares, ratio_error, wilson
from search.objectives import Constraint, Objective
from search.pareto import clearly_better, knee, maybe_beaten_by
from search_space import Choice, SearchSpace

SPACE = SearchSpace("points", [Choice("i", tuple(range(1000)))])
GOALS = [Objective("accuracy", "maximize"), Objective("latency_ms")]


def scored(*rows: dict[str, float], ends: float = 0.0) -> list[Evaluation]:
    """Evaluations whose accuracy is known to plus or minus `ends`."""
    intervals = [{"accuracy": (row["accuracy"] - ends, row["accuracy"] + ends)} if ends else {} for row in rows]
    return [
        Evaluation(SPACE.architecture(i=i), row, intervals=each)
        for i, (row, each) in enumerate(zip(rows, intervals, strict=True))
    ]


def test_wilson_of_a_published_example() -> None:
    """Newcombe 1998 (Stat. Med. 17: 857-872), table I, method 3."""
    for right, counted, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert wilson(right, counted) == pytest.approx((low, high), abs=5e-5)


def test_the_mean_of_one_share_has_its_interval_and_of_two_a_narrower_one() -> None:
    assert mean_of_shares([(7, 10)]) == pytest.approx(wilson(7, 10))
    low, high = mean_of_shares([(7, 10), (7, 10)])
    alone = wilson(7, 10)
    assert high - low == pytest.approx((alone[1] - alone[0]) / math.sqrt(2))


def test_the_error_of_a_ratio_is_what_drawing_texts_anew_shows() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(5, 60, 300).astype(float)
    totals = counts * (3 + 0.5 * rng.standard_normal(300))
    drawn = rng.integers(0, 300, (4000, 300))
    anew = totals[drawn].sum(1) / counts[drawn].sum(1)
    assert ratio_error(totals.tolist(), counts.tolist()) == pytest.approx(float(anew.std()), rel=0.05)
    assert ratio_error([1.0], [1.0]) == math.inf
    assert around(1.0, math.inf) is None


def test_what_overlaps_is_told_apart_from_what_is_better() -> None:
    near, far, exact = scored({"accuracy": 0.90}, {"accuracy": 0.92}, {"accuracy": 0.95}, ends=0.015)
    assert not clearly_better(far, near, GOALS[0])
    assert clearly_better(exact, near, GOALS[0])
    front = scored({"accuracy": 0.92, "latency_ms": 5.0}, {"accuracy": 0.90, "latency_ms": 1.0}, ends=0.015)
    assert maybe_beaten_by(front[0], front, GOALS) == [front[1]]
    assert maybe_beaten_by(front[1], front, GOALS) == []


def test_a_tie_in_accuracy_goes_to_the_faster_network() -> None:
    rows = (
        {"accuracy": 0.95, "latency_ms": 10.0},
        {"accuracy": 0.90, "latency_ms": 5.0},
        {"accuracy": 0.89, "latency_ms": 3.0},
        {"accuracy": 0.50, "latency_ms": 1.0},
    )
    assert knee(scored(*rows), GOALS).metrics["latency_ms"] == 3.0  # type: ignore[union-attr]
    slower = [*rows[:2], {"accuracy": 0.88, "latency_ms": 4.9}, rows[3]]
    # Intervals that touch only at their ends are no tie: 0.90 is not within 0.015 of 0.88.
    for ends, chosen in ((0.0, 5.0), (0.015, 5.0), (0.025, 4.9)):
        assert knee(scored(*slower, ends=ends), GOALS).metrics["latency_ms"] == chosen  # type: ignore[union-attr]


def test_spans_of_decades_are_compared_by_their_ratios() -> None:
    """With plain scales every perplexity below 10,000 is as good as the best of a front that ends at a million."""
    values = ((8.0, 100.0), (9.0, 80.0), (40.0, 60.0), (1410.0, 20.0), (1e6, 10.0))
    front = [Evaluation(SPACE.architecture(i=i), {"perplexity": p, "size_bytes": s}) for i, (p, s) in enumerate(values)]
    goals = [Objective("perplexity"), Objective("size_bytes")]
    assert knee(front, goals).metrics["perplexity"] == 9.0  # type: ignore[union-attr]
    assert knee(front[:4], goals) == knee(front, goals)  # one that is useless changes nothing
    divergent = [
        Evaluation(SPACE.architecture(i=i), {"kl_divergence": d, "size_bytes": s})
        for i, (d, s) in enumerate(((0.0, 100.0), (0.1, 60.0), (5.0, 40.0), (9.0, 10.0)))
    ]
    found = knee(divergent, [Objective("kl_divergence"), Objective("size_bytes")])
    assert found is divergent[1]


def test_a_final_front_is_sorted_out_in_the_numbers_that_are_shown() -> None:
    rows = [(0.9, 4.0), (0.8, 3.0), (0.7, 3.5), (0.95, 6.0), (0.8, 3.0), (math.nan, 1.0)]
    measured = [
        Evaluation(SPACE.architecture(i=i), {"accuracy": a, "latency_ms": b, "params": 10.0 * i})
        for i, (a, b) in enumerate(rows)
    ]
    goals = [GOALS[0], Objective("latency_ms", limit=5.0)]
    found = final_front(measured, goals, [Constraint("params", 45.0)])
    assert found.points == measured[:2]
    assert [(one, by) for one, by in found.beaten] == [(measured[2], measured[1]), (measured[4], measured[1])]
    assert [one for one, _ in found.beyond] == [measured[3], measured[5]]
    assert in_words(found.beyond[0][1]) == "latency_ms 6, 20.00% beyond 5"
    assert in_words(found.beyond[1][1]) == "accuracy is no number; params 50, 11.11% beyond 45"
    # (0.9 - 0.7) * (5 - 4) + (0.8 - 0.7) * (4 - 3): the corner is the limit, and the worst accuracy.
    assert found.worst == {"accuracy": 0.7, "latency_ms": 5.0}
    assert found.hypervolume == pytest.approx(0.3)


def test_chances_are_those_of_drawing_by_hand() -> None:
    """Two networks of one accuracy: the faster one by its prediction is on the front in most draws."""
    rows = [(0.9, 1.0), (0.9, 1.1), (0.5, 9.0)]
    beliefs = [
        Belief(one, {"latency_ms": 0.1})
        for one in scored(*({"accuracy": accuracy, "latency_ms": latency} for accuracy, latency in rows))
    ]
    found = chances(beliefs, GOALS, [], np.random.default_rng(0))
    assert found[0] + found[1] == pytest.approx(1.0)
    assert found[0] == pytest.approx(0.76, abs=0.08)  # the difference is 0.1, its deviation 0.14
    assert found[2] == 0
    limited = [GOALS[0], Objective("latency_ms", limit=1.0)]
    assert chances(beliefs, limited, [], np.random.default_rng(0))[0] == pytest.approx(0.5, abs=0.1)
    exact = [Belief(one.evaluation, {}) for one in beliefs]
    assert chances(exact, GOALS, [], np.random.default_rng(0)).tolist() == [1.0, 0.0, 0.0]
    assert chances([], GOALS, [], np.random.default_rng(0)).tolist() == []
