"""Fronts, hypervolume and knee, against brute force and numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.evaluation import Evaluation
from search.objectives import Objective
from search.pareto import cost_matrix, hypervolume, knee, pareto_front
from search_space import Choice, SearchSpace

SPACE = SearchSpace("points", [Choice("i", tuple(range(1000)))])
MINIMIZE_BOTH = [Objective("a"), Objective("b")]
ACCURACY_AND_MACS = [Objective("accuracy", "maximize"), Objective("macs")]


def scored(*rows: dict[str, float]) -> list[Evaluation]:
    """One evaluation per row, each of an architecture of its own."""
    return [Evaluation(SPACE.architecture(i=i), row) for i, row in enumerate(rows)]


def points(*pairs: tuple[float, float]) -> list[Evaluation]:
    return scored(*({"a": a, "b": b} for a, b in pairs))


def dominates(first, second) -> bool:
    return all(x <= y for x, y in zip(first, second, strict=True)) and first != second


def brute_force_front(evaluations, objectives):
    """The definition, word for word: feasible, dominated by no feasible one, first of its equals."""
    rows = []
    for evaluation in evaluations:
        values = [evaluation.metrics[o.metric] for o in objectives]
        feasible = all(
            not math.isnan(value)
            and (o.limit is None or (value >= o.limit if o.goal == "maximize" else value <= o.limit))
            for o, value in zip(objectives, values, strict=True)
        )
        if feasible:
            rows.append(
                (tuple(-v if o.goal == "maximize" else v for o, v in zip(objectives, values, strict=True)), evaluation)
            )
    kept = []
    for i, (costs, evaluation) in enumerate(rows):
        beaten = any(dominates(other, costs) for other, _ in rows)
        repeated = any(other == costs for other, _ in rows[:i])
        if not beaten and not repeated:
            kept.append((costs, evaluation))
    return [evaluation for _, evaluation in sorted(kept, key=lambda row: row[0])]


# Few different values, so that ties and duplicates are common.
VALUES = st.integers(0, 6).map(float) | st.just(math.nan)


@given(
    st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=25),
    st.lists(
        st.tuples(st.sampled_from(["minimize", "maximize"]), st.none() | st.integers(0, 6).map(float)),
        min_size=1,
        max_size=3,
    ),
)
def test_the_front_equals_the_definition(rows, directions):
    names = "abc"[: len(directions)]
    objectives = [Objective(m, goal, limit) for m, (goal, limit) in zip(names, directions, strict=True)]
    evaluations = scored(*(dict(zip("abc", row, strict=True)) for row in rows))
    got = [e.architecture.id for e in pareto_front(evaluations, objectives)]
    assert got == [e.architecture.id for e in brute_force_front(evaluations, objectives)]


def test_of_equal_scores_the_first_is_kept():
    evaluations = points((1, 2), (2, 1), (1, 2), (2, 1))
    assert pareto_front(evaluations, MINIMIZE_BOTH) == evaluations[:2]


def test_the_best_in_the_first_objective_comes_first():
    evaluations = scored({"accuracy": 0.8, "macs": 10}, {"accuracy": 0.95, "macs": 90}, {"accuracy": 0.9, "macs": 50})
    front = pareto_front(evaluations, ACCURACY_AND_MACS)
    assert [e.metrics["accuracy"] for e in front] == [0.95, 0.9, 0.8]


def test_a_score_that_is_not_a_number_is_never_on_the_front():
    assert pareto_front(points((math.nan, 0), (1, 1)), MINIMIZE_BOTH) == points((math.nan, 0), (1, 1))[1:]


def test_an_infeasible_point_neither_enters_the_front_nor_dominates():
    objectives = [Objective("a", limit=5), Objective("b")]
    evaluations = points((6, 0), (4, 3))
    assert pareto_front(evaluations, objectives) == evaluations[1:]


@pytest.mark.parametrize("evaluations", [[], points((math.nan, math.nan))])
def test_without_a_feasible_point_the_front_is_empty(evaluations):
    assert pareto_front(evaluations, MINIMIZE_BOTH) == []


def test_one_objective_has_a_front_of_one():
    evaluations = points((3, 0), (1, 9), (2, 0), (1, 8))
    assert pareto_front(evaluations, [Objective("a")]) == [evaluations[1]]


def test_hypervolume_of_two_points_is_the_area_worked_out_by_hand():
    # To the reference (4, 4): (1, 3) covers 3 x 1, (2, 1) covers 2 x 3, and they share 2 x 1.
    assert hypervolume(points((1, 3), (2, 1)), MINIMIZE_BOTH, [4, 4]) == pytest.approx(3 + 6 - 2)


def test_hypervolume_turns_maximized_metrics():
    evaluations = scored({"accuracy": 0.9, "macs": 40}, {"accuracy": 0.5, "macs": 10})
    # From accuracy 0 and 100 MACs: 0.9 x 60 and 0.5 x 90, sharing 0.5 x 60.
    assert hypervolume(evaluations, ACCURACY_AND_MACS, [0.0, 100]) == pytest.approx(54 + 45 - 30)


def test_hypervolume_of_three_objectives_is_the_volume_worked_out_by_hand():
    objectives = [Objective("a"), Objective("b"), Objective("c")]
    evaluations = scored({"a": 1, "b": 1, "c": 1}, {"a": 0, "b": 2, "c": 2})
    # To (3, 3, 3): 2*2*2 and 3*1*1, sharing 2*1*1.
    assert hypervolume(evaluations, objectives, [3, 3, 3]) == pytest.approx(8 + 3 - 2)


def test_a_dominated_point_adds_nothing():
    front = points((1, 3), (2, 1))
    assert hypervolume([*front, *points((3, 3))], MINIMIZE_BOTH, [4, 4]) == hypervolume(front, MINIMIZE_BOTH, [4, 4])


def test_a_point_beyond_the_reference_adds_nothing():
    assert hypervolume(points((5, 0)), MINIMIZE_BOTH, [4, 4]) == 0.0


def test_hypervolume_of_nothing_is_zero():
    assert hypervolume([], MINIMIZE_BOTH, [4, 4]) == 0.0


def test_the_knee_is_nearest_to_the_ideal_point_after_scaling():
    # Scaled to the unit square: (0, 1), (0.2, 0.2), (1, 0).
    front = points((0, 1000), (2, 200), (10, 0))
    assert knee(front, MINIMIZE_BOTH) == front[1]


def test_the_knee_does_not_depend_on_units():
    front = points((0, 1.0), (2, 0.2), (10, 0.0))
    in_millions = points((0, 1e6), (2, 0.2e6), (10, 0.0))
    assert knee(front, MINIMIZE_BOTH).architecture == knee(in_millions, MINIMIZE_BOTH).architecture


def test_the_knee_of_one_point_is_that_point():
    front = points((3, 7))
    assert knee(front, MINIMIZE_BOTH) == front[0]


def test_an_empty_front_has_no_knee():
    assert knee([], MINIMIZE_BOTH) is None


def test_the_cost_matrix_has_a_row_per_architecture_and_a_column_per_objective():
    rows = [{"accuracy": 0.5, "macs": 10}, {"accuracy": 0.6, "macs": 20}, {"accuracy": 0.7, "macs": 30}]
    costs = cost_matrix(ACCURACY_AND_MACS, rows)
    assert np.array_equal(costs, [[-0.5, 10], [-0.6, 20], [-0.7, 30]])


def test_the_cost_matrix_of_nothing_has_no_rows():
    assert cost_matrix(ACCURACY_AND_MACS, []).shape == (0, 2)
