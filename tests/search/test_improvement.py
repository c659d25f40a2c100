"""Hypervolume improvement against moocore's hypervolume, and expectations against sampling."""

import moocore
import numpy as np
import pytest

from search.gaussian_process.gain import exact_gain, normal_gain
from search.gaussian_process.improvement import expected_improvement, non_dominated_boxes
from search.gaussian_process.normal_scale import NormalScale


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("points", [0, 1, 12])
def test_improvement_of_a_known_point_is_the_difference_of_hypervolumes(objectives, points):
    rng = np.random.default_rng(objectives)
    # Rounded, so that coordinates tie; some points lie beyond the reference.
    front = 0.3 + rng.random((points, objectives)).round(1) * 0.7
    reference = np.full(objectives, 0.9)
    boxes = non_dominated_boxes(front, reference)
    candidates = rng.random((40, objectives))
    got = expected_improvement(
        *boxes, [lambda levels, d=d: exact_gain(levels, candidates[:, d]) for d in range(objectives)]
    )

    def volume(rows):
        inside = rows[(rows < reference).all(axis=1)]
        if objectives == 1:
            return float(reference[0] - inside.min()) if len(inside) else 0.0
        return moocore.hypervolume(inside, ref=reference) if len(inside) else 0.0

    expected = [volume(np.vstack([front, candidate])) - volume(front) for candidate in candidates]
    assert got == pytest.approx(expected, abs=1e-12)
    assert max(expected) > 0


def test_expected_improvement_is_the_mean_over_samples():
    rng = np.random.default_rng(0)
    front, reference = np.array([[0.2, 0.8], [0.5, 0.4]]), np.ones(2)
    mean, std = np.array([0.3, 0.35]), np.array([0.2, 0.1])
    boxes = non_dominated_boxes(front, reference)
    got = expected_improvement(
        *boxes, [lambda levels, d=d: normal_gain(levels, mean[d : d + 1], std[d : d + 1]) for d in range(2)]
    )
    samples = mean + std * rng.standard_normal((200_000, 2))
    gains = expected_improvement(*boxes, [lambda levels, d=d: exact_gain(levels, samples[:, d]) for d in range(2)])
    assert got[0] == pytest.approx(gains.mean(), rel=0.01)


def test_a_scale_is_monotone_goes_both_ways_and_does_not_depend_on_units():
    costs = np.array([3.0, 1.0, 90.0, 2.0, 2.0, 5.0])
    scale = NormalScale(costs)
    scores = scale.score(costs)
    assert (np.argsort(scores, kind="stable") == np.argsort(costs, kind="stable")).all()
    assert scale.cost(scores) == pytest.approx(costs)
    assert NormalScale(1e6 * costs).score(1e6 * costs) == pytest.approx(scores)
    assert scale.score(np.array([0.0]))[0] < scores.min()


def test_a_scale_of_one_value_is_legal():
    assert NormalScale(np.array([7.0, 7.0])).score(np.array([7.0]))[0] == pytest.approx(0.0)


def test_the_gain_on_a_scale_is_the_mean_over_samples():
    scale = NormalScale(np.random.default_rng(1).gamma(2.0, size=200))
    mean, std = np.array([-0.5, 0.8]), np.array([0.7, 0.2])
    levels = np.linspace(0.3, 5.0, 30)
    got = scale.gain(levels, mean, std)
    samples = scale.cost(mean + std * np.random.default_rng(2).standard_normal((100_000, 2)))
    expected = np.maximum(levels[None, :] - samples[:, :, None], 0).mean(axis=0)
    assert got == pytest.approx(expected, abs=0.02)
