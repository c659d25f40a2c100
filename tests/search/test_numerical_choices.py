"""Choices that are points of a scale: what is learned of one holds near it, and a search steps to its neighbours."""

from __future__ import annotations

import math

import numpy as np
import pytest

from search.algorithms import make_algorithm
from search.candidates import Breeder
from search.evaluation import Evaluation
from search.gaussian_process.regression import GaussianProcess, kernel_features
from search.objectives import Objective
from search_space import Choice, SearchSpace

GRID = tuple(np.linspace(0, 1, 501).tolist())
PLANE = SearchSpace("plane", [Choice("x", GRID, numerical=True), Choice("y", GRID, numerical=True)])
MIXED = SearchSpace("mixed", [Choice("x", GRID, numerical=True), Choice("kind", ("a", "b", "c"))])


@pytest.mark.parametrize("options", [("small", "large"), (2, 1), (1, math.nan), (0, math.inf)])
def test_options_that_are_no_scale_are_refused(options: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="finite numbers in rising order"):
        Choice("x", options, numerical=True)  # type: ignore[arg-type]


def test_the_kernel_sees_one_place_for_each_and_nothing_else() -> None:
    genes = np.array([[0, 500], [250, 0]])
    features = kernel_features(PLANE, genes)
    assert features.matrix == pytest.approx(np.array([[-0.5, 0.5], [0.0, -0.5]]))
    uneven = SearchSpace("uneven", [Choice("x", (0, 1, 10), numerical=True)])
    assert kernel_features(uneven, np.array([[1]])).matrix == pytest.approx(np.array([[-0.4]]))


def test_near_ones_are_alike_and_what_bends_is_learned() -> None:
    rng = np.random.default_rng(0)
    genes = rng.integers(0, 501, (60, 2))
    x, y = np.array(GRID)[genes].T
    values = np.sin(6 * x) + (y - 0.5) ** 2
    values = (values - values.mean()) / values.std()
    features = kernel_features(PLANE, genes)
    process = GaussianProcess(features)
    process.learn(features.rows(np.arange(40)), values[:40])
    mean, _, _ = process.given(features.rows(np.arange(40)), values[:40]).predict(features.rows(np.arange(40, 60)))
    assert np.sqrt(np.mean((mean - values[40:]) ** 2)) < 0.1


def test_mutants_step_to_neighbours_and_stay_inside() -> None:
    parents = np.array([[0, 250]])
    mutants = Breeder(PLANE, np.random.default_rng(0)).mutants(parents, 2000)
    assert mutants.min() >= 0
    assert mutants.max() <= 500
    moved = mutants[:, 1] != 250
    near = np.abs(mutants[moved, 1] - 250) <= 25
    assert 0.3 < near.mean() < 0.9
    assert not (mutants == parents).all(axis=1).mean() > 0.3


def test_a_search_begins_evenly_and_without_corners() -> None:
    first = make_algorithm("winnow", PLANE, [Objective("cost")], initial=16, evaluations=40).ask()
    quarters = {(a.genes[0] > 250, a.genes[1] > 250) for a in first}
    assert len(quarters) == 4
    corners = {PLANE.smallest().id, PLANE.largest().id}
    assert not corners & {a.id for a in first}


@pytest.mark.parametrize("space", [PLANE, MIXED], ids=lambda space: space.name)
def test_a_front_of_numbers_is_found(space: SearchSpace) -> None:
    def scores(values: dict[str, object]) -> dict[str, float]:
        x, other = float(values["x"]), values.get("y", values.get("kind"))  # type: ignore[arg-type]
        rest = (other - 0.7) ** 2 if isinstance(other, float) else {"a": 0.5, "b": 0.0, "c": 1.0}[str(other)]
        return {"one": (x - 0.2) ** 2 + rest, "two": (x - 0.6) ** 2 + rest}

    search = make_algorithm("winnow", space, [Objective("one"), Objective("two")], evaluations=40, batch=4)
    found = []
    while batch := search.ask():
        told = [Evaluation(a, scores(a.values)) for a in batch]
        search.tell(told)
        found += told
    on_front = [e for e in found if math.sqrt(e.metrics["one"]) + math.sqrt(e.metrics["two"]) < 0.4 + 0.02]
    assert len(on_front) >= 10


def test_a_small_space_of_numbers_is_searched_whole() -> None:
    few = SearchSpace("few", [Choice("x", (0, 1, 2), numerical=True), Choice("y", (0, 1), numerical=True)])
    search = make_algorithm("winnow", few, [Objective("cost")], evaluations=20, batch=2)
    seen = set()
    while batch := search.ask():
        seen |= {a.id for a in batch}
        search.tell([Evaluation(a, {"cost": float(sum(a.genes))}) for a in batch])
    assert len(seen) == 6
