"""Objectives: signs, limits, feasibility."""

import math

import pytest

from search.objectives import Objective, violation

ACCURACY = Objective("accuracy", "maximize", limit=0.9)
MACS = Objective("macs", "minimize", limit=100)


def test_less_cost_is_better_in_both_directions():
    assert ACCURACY.cost(0.8) == -0.8
    assert MACS.cost(5) == 5


@pytest.mark.parametrize("objective", [ACCURACY, MACS])
def test_a_value_at_the_limit_is_feasible(objective):
    assert objective.violation(objective.limit) == 0.0


def test_violation_is_relative_to_the_limit():
    assert MACS.violation(150) == pytest.approx(0.5)
    assert ACCURACY.violation(0.45) == pytest.approx(0.5)


def test_a_value_on_the_right_side_of_the_limit_is_feasible():
    assert MACS.violation(1) == 0.0
    assert ACCURACY.violation(1.0) == 0.0


def test_without_a_limit_every_number_is_feasible():
    assert Objective("macs").violation(1e30) == 0.0


@pytest.mark.parametrize("objective", [ACCURACY, MACS, Objective("macs")])
def test_what_is_not_a_number_is_infinitely_infeasible(objective):
    assert objective.violation(math.nan) == math.inf


def test_a_limit_of_zero_can_be_met_and_missed():
    objective = Objective("errors", limit=0)
    assert objective.violation(0) == 0.0
    assert objective.violation(1) > 0.0


def test_violations_of_all_limits_are_summed():
    assert violation([ACCURACY, MACS], {"accuracy": 0.45, "macs": 150}) == pytest.approx(1.0)
    assert violation([ACCURACY, MACS], {"accuracy": 0.95, "macs": 50}) == 0.0
