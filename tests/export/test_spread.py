"""From runs to a number with an interval that tells the truth."""

import numpy as np
import pytest

from export.measure.child import timed_runs, warm_up
from export.measure.spread import Block, estimate_ms, half_width, interval_ms


def block(times, process=0, preempted=None):
    taken = np.zeros(len(times), dtype=bool) if preempted is None else np.array(preempted)
    return Block(np.array(times, dtype=float), taken, process)


def measured(rng, processes=2, blocks=20, drift=0.02, between=0.01, noise=0.01):
    """A measurement of a network of 1 ms on a machine whose blocks and processes differ."""
    found = []
    for process in range(processes):
        own = 1 + between * rng.standard_normal()
        for _ in range(blocks):
            level = own * (1 + drift * rng.standard_normal())
            found.append(block(level * (1 + noise * np.abs(rng.standard_normal(20))), process))
    return found


@pytest.mark.thorough
def test_the_interval_covers_another_measurement_nine_times_in_ten():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        low, high = interval_ms(measured(rng))
        covered.append(low <= estimate_ms(measured(rng)) <= high)
    assert np.mean(covered) >= 0.9


def test_processes_that_differ_widen_the_interval():
    alike = [block([1.0, 1.0, 1.0], process) for process in (0, 1) for _ in range(4)]
    apart = [block([1.0 + 0.1 * process] * 3, process) for process in (0, 1) for _ in range(4)]
    assert half_width(alike) < 0.02
    assert half_width(apart) > 0.04


def test_a_machine_that_drifts_has_a_wider_interval():
    steady = [block([1.0 + 0.02 * (i % 2)] * 3) for i in range(12)]
    drifting = [block([1.0 + 0.1 * (i >= 6) + 0.02 * (i % 2)] * 3) for i in range(12)]
    assert half_width(drifting) > 3 * half_width(steady)


def test_a_disturbed_block_is_one_of_many():
    calm = [block([1.0] * 5) for _ in range(7)]
    assert estimate_ms([*calm, block([9.0] * 5)]) == 1.0


def test_preempted_runs_do_not_count_unless_they_are_most():
    assert block([1.0, 1.0, 5.0], preempted=[False, False, True]).median_ms == 1.0
    assert block([1.0, 5.0, 5.0], preempted=[False, True, True]).median_ms == 5.0


def test_the_warm_up_ends_when_the_median_is_stable():
    times = iter([10.0] * 10 + [5.0] * 10 + [2.0] * 10 + [2.01] * 10 + [1.0] * 100)
    assert warm_up(lambda: next(times), max_seconds=60) == 40


def test_the_warm_up_ends_when_its_time_is_over():
    level = iter(range(1, 10_000_000))
    assert warm_up(lambda: float(2 ** (next(level) // 10)), max_seconds=0.0) == 1


def test_a_block_has_its_least_number_of_runs():
    times, preempted = timed_runs(lambda: 1.0, seconds=0.0, least=4)
    assert times == [1.0] * 4
    assert len(preempted) == 4
