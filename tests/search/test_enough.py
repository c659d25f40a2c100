"""Few examples are said where their intervals hide differences that matter, and only there."""

from __future__ import annotations

import math

import pytest

from search.enough import ASSUMED, MATTERS, OF_SAMPLES, half_width, halved_by, too_few, too_wide
from search.intervals import wilson


def test_half_the_interval_is_wilsons() -> None:
    low, high = wilson(54, 60)
    assert half_width([60], share=0.9) == pytest.approx((high - low) / 2)


@pytest.mark.parametrize("count", [8, 60, 100])
@pytest.mark.parametrize("metric", OF_SAMPLES)
def test_few_samples_are_said_with_what_would_halve_the_interval(metric: str, count: int) -> None:
    said = too_few(metric, [count])
    assert said is not None
    assert said.startswith(f"Only {count} validation samples")
    assert f"±{100 * half_width([count]):.1f} points" in said
    assert f"{halved_by([count]):,} samples would halve" in said


@pytest.mark.parametrize("count", [145, 359, 5000, 10**6])
def test_enough_samples_are_no_warning(count: int) -> None:
    assert too_few("accuracy", [count]) is None


def test_the_bound_is_the_difference_that_matters() -> None:
    least = next(count for count in range(1, 1000) if too_few("accuracy", [count]) is None)
    assert half_width([least]) <= MATTERS < half_width([least - 1])
    assert all(too_few("accuracy", [count]) is None for count in range(least, least + 300))


@pytest.mark.parametrize("counts", [[2], [17], [60], [60, 30]])
def test_the_number_that_halves_is_the_least_such(counts: list[int]) -> None:
    found = halved_by(counts)

    def of(first: int) -> float:
        return half_width([math.ceil(count * first / counts[0]) for count in counts])

    assert of(found) <= half_width(counts) / 2 < of(found - 1)


def test_a_mean_of_two_shares_is_known_better_than_either() -> None:
    assert half_width([60, 60], ASSUMED) < half_width([60], ASSUMED)


@pytest.mark.parametrize("metric", ["perplexity", "kl_divergence", "latency_ms", "macs", "task_accuracy"])
def test_metrics_that_are_no_shares_of_samples_are_not_judged_before_they_are_scored(metric: str) -> None:
    assert too_few(metric, [3]) is None


def test_nothing_to_ask_is_another_problem() -> None:
    assert too_few("accuracy", [0]) is None


@pytest.mark.parametrize(
    ("metric", "ends", "wide"),
    [
        ("perplexity", (20.0, 21.0), False),
        ("perplexity", (20.0, 24.0), True),
        ("perplexity", (2000.0, 2100.0), False),
        ("kl_divergence", (0.10, 0.15), False),
        ("kl_divergence", (0.10, 0.30), True),
        ("task_accuracy", (0.50, 0.58), False),
        ("task_accuracy", (0.50, 0.70), True),
    ],
)
def test_a_measured_interval_is_judged_in_the_scale_of_its_metric(
    metric: str, ends: tuple[float, float], wide: bool
) -> None:
    assert (too_wide(metric, ends) is not None) == wide
