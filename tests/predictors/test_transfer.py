"""Known devices: they help where they are alike, and never hurt where they are not; and what to measure."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from predictors import make_predictor
from predictors.devices import Device
from predictors.selection import most_telling, telling_networks
from predictors.transfer import TransferPredictor, stacked
from search_space import Choice, SearchSpace
from search_space.architecture import Architecture
from search_space.plugins import load_family

CELLS = SearchSpace("cells", [Choice(f"edge{i}", ("none", "skip", "conv1", "conv3", "pool")) for i in range(5)])
ALL = list(CELLS.every())
SEEDS = range(4)


def latencies(seed: int) -> np.ndarray:
    """Of all cells on a device of its own: prices of operations at each edge, and of pairs of them."""
    rng = np.random.default_rng(seed)
    genes = np.array([a.genes for a in ALL])
    price, pair = rng.gamma(1.0, 1.0, (5, 5)), rng.gamma(0.5, 1.0, (5, 5))
    alone = sum(price[i, genes[:, i]] for i in range(5))
    return 1 + alone + sum(pair[genes[:, i], genes[:, i + 1]] for i in range(4))


def device(name: str, of: np.ndarray) -> Device:
    return Device(name, tuple(ALL), tuple(of.tolist()))


def like(of: np.ndarray, seed: int) -> np.ndarray:
    """A device of the same kind: another speed, a bend, and a tenth of its own."""
    rng = np.random.default_rng(seed)
    return 0.3 * of**1.2 * np.exp(0.05 * rng.standard_normal(len(of)))


def ranked(target: np.ndarray, devices: list[Device], seed: int, count: int = 10) -> tuple[float, TransferPredictor]:
    order = np.random.default_rng(seed).permutation(len(ALL))
    predictor = make_predictor("latency", CELLS, devices=devices, seed=seed)
    predictor.fit([ALL[i] for i in order[:count]], target[order[:count]])
    unseen = order[-300:]
    found = predictor.predict([ALL[i] for i in unseen])[0]
    return float(spearmanr(found, target[unseen]).statistic), predictor  # type: ignore[return-value]


@pytest.mark.thorough
def test_devices_of_another_kind_do_not_hurt() -> None:
    alone, told = [], []
    for seed in SEEDS:
        target = latencies(seed)
        strangers = [device(f"stranger{i}", latencies(100 + 10 * seed + i)) for i in range(3)]
        alone.append(ranked(target, [], seed)[0])
        told.append(ranked(target, strangers, seed)[0])
    assert np.mean(told) > np.mean(alone) - 0.03


def test_devices_of_the_same_kind_help_even_among_strangers() -> None:
    alone, told = [], []
    for seed in SEEDS:
        target = latencies(seed)
        known = [device("alike", like(target, seed)), *(device(f"other{i}", latencies(50 + seed + i)) for i in (0, 9))]
        alone.append(ranked(target, [], seed)[0])
        score, predictor = ranked(target, known, seed)
        told.append(score)
        assert predictor.weights[("alike",)] == max(predictor.weights.values())
    assert np.mean(told) > np.mean(alone) + 0.2


def test_weights_follow_what_was_validated() -> None:
    good, bad = np.zeros(20), np.full(20, -5.0)
    weights = stacked(np.array([bad, good, bad]))
    assert weights.sum() == pytest.approx(1)
    assert weights[1] > 0.85
    assert stacked(np.zeros((4, 0))) == pytest.approx([0.25] * 4)
    # Each is right for one half: both are kept.
    halves = np.where(np.arange(20) < 10, 0.0, -5.0)
    assert stacked(np.array([halves, halves[::-1]])) == pytest.approx([0.5, 0.5])


def test_a_mixture_is_wider_than_its_experts_where_they_disagree() -> None:
    target = latencies(0)
    _, predictor = ranked(target, [device("alike", like(target, 0)), device("stranger", latencies(77))], 0)
    some = ALL[:50]
    mean, std = predictor.predict(some)
    experts = [(weight, *expert.predict(some)) for weight, expert in predictor._experts]
    assert mean == pytest.approx(sum(weight * centre for weight, centre, _ in experts))
    assert (std**2 >= sum(weight * spread**2 for weight, _, spread in experts) - 1e-9).all()


def test_three_measurements_validate_nothing_and_still_predict() -> None:
    score, predictor = ranked(latencies(0), [device("alike", like(latencies(0), 0))], 0, count=3)
    assert np.isfinite(score)
    assert len(set(predictor.weights.values())) == 1


class TestSelection:
    def test_measured_by_choice_tells_more_than_by_chance(self) -> None:
        chance, choice = [], []
        for seed in range(6):
            target = latencies(200 + seed)
            by_id = dict(zip((a.id for a in ALL), target, strict=True))
            rest = [ALL[i] for i in np.random.default_rng(seed).permutation(len(ALL))]
            for some, scores in ((rest[:15], chance), (telling_networks(CELLS, 15, seed=seed), choice)):
                predictor = make_predictor("latency", CELLS, seed=seed)
                predictor.fit(some, [by_id[a.id] for a in some])
                found = predictor.predict(rest[-500:])[0]
                scores.append(float(spearmanr(found, [by_id[a.id] for a in rest[-500:]]).statistic))
        assert np.mean(choice) > np.mean(chance)

    def test_a_first_part_is_a_choice_too_and_none_comes_twice(self) -> None:
        many = telling_networks(CELLS, 12, seed=3)
        assert len({a.id for a in many}) == 12
        assert telling_networks(CELLS, 5, seed=3) == many[:5]

    def test_the_first_takes_most_variance(self) -> None:
        rng = np.random.default_rng(0)
        root = rng.standard_normal((30, 4))
        covariance = root @ root.T

        def left(i: int) -> float:
            column = covariance[:, i]
            return float(np.trace(covariance - np.outer(column, column) / (covariance[i, i] + 0.05)))

        assert most_telling(covariance, 1, 0.05) == [int(np.argmin([left(i) for i in range(30)]))]

    def test_spaces_with_layers_and_small_ones(self) -> None:
        digits = load_family("mobilenet", preset="digits")
        assert len({a.id for a in telling_networks(digits, 6)}) == 6
        tiny = SearchSpace("tiny", [Choice("a", (1, 2, 3))])
        assert {a.id for a in telling_networks(tiny, 3)} == {a.id for a in tiny.every()}
        with pytest.raises(ValueError, match="has 3 networks"):
            telling_networks(tiny, 4)


def test_architectures_of_the_pool_are_of_the_space() -> None:
    chosen: list[Architecture] = telling_networks(CELLS, 2)
    assert all(a in CELLS for a in chosen)
