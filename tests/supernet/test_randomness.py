"""Generators derived from seed, purpose and position."""

import numpy as np
import pytest

from supernet.randomness import derived_rng


def draw(*arguments) -> list[float]:
    return derived_rng(*arguments).random(4).tolist()


def test_the_same_arguments_give_the_same_numbers():
    assert draw(3, "batches", 7) == draw(3, "batches", 7)


@pytest.mark.parametrize("other", [(4, "batches", 7), (3, "sub-networks", 7), (3, "batches", 8)])
def test_each_argument_matters(other):
    assert draw(3, "batches", 7) != draw(*other)


def test_drawing_from_one_generator_does_not_move_another():
    first, second = derived_rng(0, "a", 0), derived_rng(0, "a", 0)
    first.random(100)
    assert second.random(4).tolist() == draw(0, "a", 0)


def test_neighbouring_positions_are_uncorrelated():
    rows = np.array([derived_rng(0, "a", i).random(400) for i in range(20)])
    correlations = np.corrcoef(rows)[np.triu_indices(20, k=1)]
    # 190 pairs of 400 draws: one standard deviation is 0.05, and the largest stays below 0.2.
    assert abs(correlations).max() < 0.2


def test_the_numbers_never_change():
    """Checkpoints hold no generator state: a resumed training must draw what the interrupted one would."""
    assert derived_rng(0, "batches", 0).integers(0, 1_000_000, 3).tolist() == [71144, 991488, 357809]
