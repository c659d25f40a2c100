"""The integer program over blocks, against every network of small spaces."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from search.blocks.solver import ENOUGH, Limit, Pair, Terms, solve
from tests.tiers import mostly_thorough


def every_network(sizes: list[int]) -> np.ndarray:
    return np.array(list(itertools.product(*(range(size) for size in sizes))))


def random_terms(rng: np.random.Generator, sizes: list[int], num_pairs: int = 0) -> Terms:
    costs = tuple(rng.lognormal(0, 1, size).round(6) for size in sizes)
    pairs = []
    for _ in range(num_pairs):
        first, second = rng.choice(len(sizes), 2, replace=False)
        sets = [rng.random(sizes[block]) < 0.5 for block in (first, second)]
        pairs.append(Pair(int(first), sets[0], int(second), sets[1], float(rng.normal(0, 3))))
    return Terms(float(rng.normal()), costs, tuple(pairs))


@pytest.mark.parametrize("seed", mostly_thorough(range(12), 0, 1, 2))
def test_what_is_found_is_the_best_of_all_networks_within_the_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [int(size) for size in rng.integers(1, 5, rng.integers(2, 7))]
    networks = every_network(sizes)
    num_pairs = int(rng.integers(0, 4)) if len(sizes) > 1 else 0
    objective = random_terms(rng, sizes, num_pairs)
    limited = [random_terms(rng, sizes, int(rng.integers(0, 2))) for _ in range(rng.integers(1, 4))]
    limits = [Limit(terms, float(np.quantile(terms.of(networks), rng.uniform(0.2, 0.8)))) for terms in limited]
    kept = np.all([limit.terms.of(networks) <= limit.most + 1e-9 for limit in limits], axis=0)
    found = solve(objective, limits)
    assert found is not None
    assert found.feasible == bool(kept.any())
    assert found.total == pytest.approx(float(objective.of(np.array([found.network]))[0]))
    if kept.any():
        best = float(objective.of(networks[kept]).min())
        assert all(limit.terms.of(np.array([found.network]))[0] <= limit.most + 1e-6 for limit in limits)
        assert found.total <= best + ENOUGH * abs(best - objective.base) + 1e-9
        assert found.gap == 0


@pytest.mark.parametrize("seed", mostly_thorough(range(6), 0, 1))
def test_limits_that_nothing_meets_give_the_network_that_exceeds_them_least(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [3, 2, 4, 3]
    networks = every_network(sizes)
    objective, *limited = (random_terms(rng, sizes) for _ in range(3))
    # Each can be met alone, and no network meets both.
    totals = [terms.of(networks) for terms in limited]
    limits = [
        Limit(terms, float(total.min()) * 0.9, float(total.max())) for terms, total in zip(limited, totals, strict=True)
    ]
    found = solve(objective, limits)
    assert found is not None
    assert not found.feasible
    excess = sum(np.maximum(0, limit.terms.of(networks) - limit.most) / limit.scale for limit in limits)
    mine = excess[(networks == found.network).all(axis=1)][0]
    assert mine <= excess.min() * 1.01 + 1e-3


def test_networks_that_are_not_wanted_are_left_out_one_after_the_other() -> None:
    rng = np.random.default_rng(3)
    sizes = [2, 3, 2]
    objective, networks = random_terms(rng, sizes, 1), every_network(sizes)
    seen: list[tuple[int, ...]] = []
    for _ in networks:
        found = solve(objective, without=seen)
        assert found is not None
        seen.append(found.network)
    totals = objective.of(np.array(seen))
    assert len(set(seen)) == len(networks)
    assert (np.diff(totals) >= -ENOUGH * np.abs(totals[1:] - objective.base) - 1e-9).all()
    assert solve(objective, without=seen) is None


def test_a_limit_of_exactly_what_the_best_network_has_is_met() -> None:
    objective = Terms(0.0, (np.array([3.0, 0.0]), np.array([1.0, 0.0])))
    size = Terms(1e9, (np.array([0.0, 7e8]), np.array([0.0, 3.0])))
    found = solve(objective, [Limit(size, 1.7e9, 1.7e9)])
    assert found is not None
    assert found.network == (1, 0)
    assert found.feasible


@pytest.mark.thorough
def test_too_little_time_says_how_far_the_best_may_be() -> None:
    rng = np.random.default_rng(0)
    sizes = [16] * 32
    size = np.sort(rng.random((32, 16)), axis=1)
    costs = rng.lognormal(0, 1, (32, 1)) * (1 - size) ** 2 * rng.lognormal(0, 0.2, (32, 16))
    objective = Terms(0.0, tuple(costs))
    limits = []
    for _ in range(3):
        terms = Terms(0.0, tuple(size * rng.lognormal(0, 0.3, (32, 16))))
        limits.append(Limit(terms, 0.6 * float(sum(c[-1] for c in terms.costs))))
    hurried, patient = solve(objective, limits, seconds=0.01), solve(objective, limits)
    assert hurried is not None
    assert patient is not None
    assert hurried.feasible
    assert patient.gap == 0
    assert hurried.total * (1 - hurried.gap) <= patient.total * (1 + ENOUGH)
    assert patient.total <= hurried.total * (1 + ENOUGH)
    assert len(sizes) == len(patient.network)


@pytest.mark.parametrize("limit", [1e-308, 1e-25, 1e-9])
def test_a_limit_far_below_every_network_gives_the_nearest_one(limit: float) -> None:
    objective = Terms(0.0, (np.array([0.0, 1.0, 2.0]), np.array([0.0, 3.0])))
    params = Terms(1e6, (np.array([5e6, 1e6, 2e6]), np.array([4e6, 3e6])))
    found = solve(objective, [Limit(params, limit, limit)])
    assert found is not None
    assert not found.feasible
    assert found.network == (1, 1)
