"""The course of a hypervolume is the hypervolume of what was evaluated so far, at every evaluation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from search import hypervolume_course as course
from search.hypervolume_course import box_of, hypervolume_course
from search.objectives import Constraint, Objective
from search.pareto import hypervolume
from tests.search.test_pareto import scored

GOALS = (Objective("accuracy", "maximize"), Objective("macs"), Objective("latency_ms", limit=8.0))


def drawn(count: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(1)
    return [
        {"accuracy": float(rng.random()), "macs": float(rng.integers(1, 100)), "latency_ms": 10 * float(rng.random())}
        for _ in range(count)
    ]


def test_it_is_the_hypervolume_of_all_so_far() -> None:
    scores = drawn(60)
    scores[7]["accuracy"] = math.nan
    box = box_of(scores, GOALS)
    assert box is not None
    grown = dict(hypervolume_course(scores, GOALS, box.corner))
    networks = scored(*scores)
    so_far = 0.0
    for number in range(1, len(scores) + 1):
        so_far = grown.get(number, so_far)
        assert so_far == pytest.approx(hypervolume(networks[:number], GOALS, box.corner))
    assert 0 < so_far < box.volume(GOALS)


def test_a_corner_is_the_limit_or_beyond_the_worst_of_the_front() -> None:
    scores = [
        {"accuracy": 0.9, "macs": 10.0, "latency_ms": 2.0},
        {"accuracy": 0.5, "macs": 2.0, "latency_ms": 1.0},
        {"accuracy": 0.1, "macs": 900.0, "latency_ms": 3.0},  # beaten, so it says nothing
        {"accuracy": 1.0, "macs": 1.0, "latency_ms": 9.0},  # beyond the limit
    ]
    box = box_of(scores, GOALS)
    assert box is not None
    assert box.ideal == (0.9, 2.0, 1.0)
    assert box.corner == (pytest.approx(0.46), pytest.approx(10.8), 8.0)


def test_one_network_has_a_box_and_none_has_not() -> None:
    one = [{"accuracy": 0.5, "macs": 10.0, "latency_ms": 1.0}]
    box = box_of(one, GOALS)
    assert box is not None
    assert [number for number, _ in hypervolume_course(one, GOALS, box.corner)] == [1]
    assert box_of([], GOALS) is None
    limited = GOALS[:2]
    assert box_of(one, limited, [Constraint("latency_ms", 0.5)]) is None
    assert box_of([{**one[0], "latency_ms": 9.0}], GOALS) is None


def test_of_many_points_an_even_choice_is_kept_and_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    rising = [{"accuracy": 0.1 + n / 100, "macs": 10.0 + n, "latency_ms": 1.0} for n in range(50)]
    box = box_of(rising, GOALS)
    assert box is not None
    whole = hypervolume_course(rising, GOALS, box.corner)
    monkeypatch.setattr(course, "MOST_POINTS", 5)
    assert hypervolume_course(rising, GOALS, box.corner) == [whole[place] for place in (0, 12, 24, 37, 49)]
