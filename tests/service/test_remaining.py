"""How long a job still takes: from its pace, from earlier jobs, and where nobody knows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from job.spec import JobSpec
from service.remaining import KEPT, LEAST_SPREAD, Pace, Seconds, remaining, weights_of
from service.store.models import STAGES, Stage
from service.terminal import between, left

WEIGHTS = weights_of(JobSpec.model_validate({"recipe": "bignas"}))
# Seconds low and high, and what people are told; the pages say the same (tests/e2e/test_pages_live.py).
SAID = [
    (720, 1080, "12 to 18 min"),
    (0, 0, "up to 5 s"),
    (2, 2, "up to 5 s"),
    (12, 12, "about 10 s"),
    (1, 40, "up to 40 s"),
    (30, 89, "30 to 90 s"),
    (20, 200, "up to 3 min"),
    (40, 200, "1 to 3 min"),
    (719, 731, "about 12 min"),
    (3000, 5400, "1 to 1.5 h"),
    (3600, 9000, "1 to 2.5 h"),
    (86_400, 200_000, "1 to 2.5 d"),
    (864_000, 8_640_000, "10 to 100 d"),
]


def paced(steps: list[tuple[float, float]], began: float = 0.0, done: float = 0.0) -> Pace:
    """A pace that has seen these (share, second)."""
    pace = Pace(began, done)
    for share, at in steps:
        pace.see(share, at)
    return pace


@pytest.mark.parametrize(("low", "high", "words"), SAID)
def test_bounds_are_said_in_one_unit_and_no_finer_than_they_are_known(low: float, high: float, words: str) -> None:
    assert between(low, high) == words


def test_a_job_that_does_not_run_has_no_time_left() -> None:
    job = {"state": "running", "eta_seconds": 900.0, "eta_low_seconds": 720.0, "eta_high_seconds": 1080.0}
    assert left(job) == "12 to 18 min"
    assert left({**job, "state": "paused"}) == ""
    assert left({**job, "eta_seconds": None}) == ""
    assert left({"state": "running", "eta_seconds": 61.0}) == "about 1 min 01 s"  # a server of before


def test_a_steady_pace_goes_on_and_is_not_taken_for_exact() -> None:
    pace = paced([(share / 10, 20.0 * share) for share in range(1, 6)])
    found = pace.left()
    assert found is not None
    assert found.likely == pytest.approx(100)
    assert (found.low, found.high) == pytest.approx((100 * (1 - LEAST_SPREAD), 100 * (1 + LEAST_SPREAD)))


def test_too_little_is_no_pace_and_one_step_has_no_spread() -> None:
    assert Pace(0.0, 0.0).left() is None
    assert paced([(0.005, 10.0)]).left() is None
    assert paced([(0.25, 10.0)]).left() == pytest.approx((30.0, 15.0, 60.0))


def test_what_an_earlier_run_did_says_nothing_of_the_pace_of_this_one() -> None:
    found = paced([(0.6, 110.0), (0.7, 120.0), (0.8, 130.0)], began=100.0, done=0.5).left()
    assert found is not None
    assert found.likely == pytest.approx(20.0)


def test_a_stage_that_has_more_to_do_than_was_known_begins_anew() -> None:
    pace = paced([(0.5, 50.0), (1.0, 100.0), (0.8, 100.0)])
    assert pace.left() is None
    pace.see(0.9, 130.0)
    assert pace.left() == pytest.approx((30.0, 15.0, 60.0))


def test_silence_is_part_of_the_next_step() -> None:
    found = paced([(0.25, 10.0), (0.25, 50.0), (0.5, 90.0)]).left()
    assert found is not None
    assert found.likely == pytest.approx(90.0)


@pytest.mark.parametrize("steps", [8, 40, 400])
def test_four_of_five_intervals_hold(steps: int) -> None:
    """Steps of random lengths, of which a part is seen; the rest is as random."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        seconds = rng.gamma(1.0, 1.0, size=steps)  # as uneven as its mean
        seen = steps // 2
        pace = paced([((i + 1) / steps, float(seconds[: i + 1].sum())) for i in range(seen)])
        found = pace.left()
        assert found is not None
        held += found.low <= float(seconds[seen:].sum()) <= found.high
    # Of many steps the least spread covers more; it must not be less.
    assert 0.72 <= held / 400 <= (0.88 if steps < 400 else 1.0)


def test_a_machine_that_is_busy_for_a_while_widens_the_bounds() -> None:
    """The same times, mixed and in a row: neighbours that are alike tell less."""
    slow = [1.0] * 400 + [4.0] * 400
    mixed = [time for pair in zip(slow[:400], slow[400:], strict=True) for time in pair]

    def width(times: list[float]) -> float:
        found = paced([((i + 1) / 1600, float(np.sum(times[: i + 1]))) for i in range(800)]).left()
        assert found is not None
        return found.high - found.low

    assert width(slow) > 2 * width(mixed)


def test_few_numbers_are_kept_however_long_it_goes() -> None:
    pace = paced([(i / 10_000, float(i)) for i in range(1, 9_000)])
    assert len(pace._increments) < 2 * KEPT
    found = pace.left()
    assert found is not None
    assert found.likely == pytest.approx(1001.0)


def test_later_stages_come_from_earlier_jobs_or_from_what_they_usually_cost() -> None:
    pace = paced([(0.25, 25.0), (0.5, 50.0), (0.75, 75.0)])
    ahead = {Stage.MEASURE_FINALISTS: Seconds(30.0, 20.0, 90.0)}
    known = remaining(Stage.SEARCH, pace, 75.0, WEIGHTS, ahead)
    assert known == pytest.approx((55.0, 22.5 + 20.0, 27.5 + 90.0))
    usual = 100.0 * WEIGHTS[Stage.MEASURE_FINALISTS] / WEIGHTS[Stage.SEARCH]
    guessed = remaining(Stage.SEARCH, pace, 75.0, WEIGHTS, {})
    assert guessed == pytest.approx((25.0 + usual, 22.5 + usual / 2, 27.5 + usual * 2))


def test_before_its_first_steps_earlier_jobs_speak_for_a_stage_unless_it_is_slower_than_any() -> None:
    earlier = {stage: Seconds(10.0, 5.0, 20.0) for stage in STAGES}
    pace = Pace(0.0, 0.5)
    assert remaining(Stage.MEASURE_FINALISTS, pace, 1.0, WEIGHTS, earlier) == pytest.approx((5.0, 2.5, 10.0))
    assert remaining(Stage.MEASURE_FINALISTS, pace, 21.0, WEIGHTS, earlier) is None
    assert remaining(Stage.MEASURE_FINALISTS, pace, 1.0, WEIGHTS, {}) is None
    # A later stage that nobody knows anything of leaves the whole open.
    of_this = {Stage.SEARCH: Seconds(10.0, 5.0, 20.0)}
    assert remaining(Stage.SEARCH, Pace(0.0, 0.0), 1.0, WEIGHTS, of_this) is None


@pytest.mark.parametrize(
    ("recipe", "more", "none"),
    [("bignas", {}, {Stage.MEASURE_BASELINES, Stage.HEAL}), ("simq_nas", {}, {Stage.HEAL})],
)
def test_stages_that_a_job_has_not_weigh_nothing(recipe: str, more: dict[str, object], none: set[Stage]) -> None:
    weights = weights_of(JobSpec.model_validate({"recipe": recipe, **more}))
    assert math.isclose(sum(weights.values()), 1.0)
    assert {stage for stage, weight in weights.items() if weight == 0} == none | {Stage.DONE}


def test_a_search_for_baselines_weighs_what_it_evaluates() -> None:
    def share(evaluations: int) -> float:
        part = {"baseline_evaluations": evaluations, "bits": [8, 32]}
        spec = {"recipe": "simq_nas", "search": {"evaluations": 100}, "quantization": part}
        weights = weights_of(JobSpec.model_validate(spec))
        return weights[Stage.MEASURE_BASELINES] / weights[Stage.SEARCH]

    assert share(100) - share(50) == pytest.approx(0.5)
