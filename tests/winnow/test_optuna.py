"""WinnowSampler in optuna's own tests of samplers, and what those do not ask."""

from __future__ import annotations

import math
from collections.abc import Callable

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from optuna.trial import TrialState

from winnow.optuna import LEVELS, WinnowSampler, space_of

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {
    "x": FloatDistribution(-1, 1),
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "layers": IntDistribution(1, 8),
    "kind": CategoricalDistribution(("conv", "pool", None)),
}


class TestOptunasOwn(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    # Models from the third trial on, so that tests of ten trials meet them.
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: WinnowSampler(seed=0, n_startup_trials=2)


def bowl(params: dict[str, object]) -> float:
    x, rate, layers = (float(params[name]) for name in ("x", "rate", "layers"))  # type: ignore[arg-type]
    return (x - 0.3) ** 2 + 0.2 * (math.log10(rate) + 2) ** 2 + 0.1 * abs(layers - 5) + (params["kind"] != "pool")


def run(sampler: BaseSampler, trials: int = 40) -> optuna.Study:
    study = optuna.create_study(sampler=sampler)
    for _ in range(trials):
        trial = study.ask(SPACE)
        study.tell(trial, bowl(trial.params))
    return study


def test_it_learns_numbers_scales_and_categories() -> None:
    best = run(WinnowSampler(seed=1)).best_trial
    drawn = run(optuna.samplers.RandomSampler(seed=1), 200).best_value
    assert best.value < drawn / 2
    assert best.params["kind"] == "pool"
    assert best.params["layers"] == 5


def test_one_seed_is_one_course() -> None:
    first, second, other = (run(WinnowSampler(seed=seed), 14) for seed in (3, 3, 4))
    assert [t.params for t in first.trials] == [t.params for t in second.trials]
    assert [t.params for t in first.trials] != [t.params for t in other.trials]


def test_trials_that_run_are_not_proposed_again() -> None:
    study = run(WinnowSampler(seed=0), 12)
    running = [study.ask(SPACE) for _ in range(6)]
    assert len({tuple(trial.params.items()) for trial in running}) == 6


@pytest.mark.thorough
def test_what_fails_is_avoided_and_a_limit_is_approached_from_inside() -> None:
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    study = optuna.create_study(directions=["minimize"] * 2, sampler=WinnowSampler(seed=0))
    for _ in range(50):
        trial = study.ask(space)
        x, y = trial.params["x"], trial.params["y"]
        if x > 0.8:
            study.tell(trial, state=TrialState.FAIL)
            continue
        trial.set_constraint("sum", 0.5 - x - y)
        study.tell(trial, (x, y))
    late = study.trials[25:]
    assert sum(t.state == TrialState.FAIL for t in late) <= 5
    # The front lies on the limit: of 25 random trials not one would be expected just inside it.
    near = [t for t in late if t.state == TrialState.COMPLETE and -0.05 < t.constraints["sum"] <= 0]
    assert len(near) >= 6
    assert {t.number for t in study.best_trials} & {t.number for t in late}


def test_a_space_that_is_given_is_sampled_evenly_from_the_first_trial_on() -> None:
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    study = optuna.create_study(sampler=WinnowSampler(space, seed=0, n_startup_trials=8))
    trials = [study.ask(space) for _ in range(8)]
    eighths = {(int(t.params["x"] * 8), int(t.params["y"] * 8)) for t in trials}
    assert len({x for x, _ in eighths}) == len({y for _, y in eighths}) == 8
    with pytest.raises(ValueError, match="CategoricalDistribution"):
        WinnowSampler({"x": optuna.distributions.BaseDistribution})  # type: ignore[dict-item]


def test_five_objectives_are_refused() -> None:
    study = optuna.create_study(directions=["minimize"] * 5, sampler=WinnowSampler())
    with pytest.raises(ValueError, match=r"5 objectives.*at most 4"):
        study.ask(SPACE)
    with pytest.raises(ValueError, match="at least 2"):
        WinnowSampler(n_startup_trials=1)


def test_nothing_finite_is_nothing_to_learn_from() -> None:
    study = optuna.create_study(sampler=WinnowSampler(seed=0, n_startup_trials=2))
    for _ in range(4):
        study.tell(study.ask(SPACE), math.inf)
    assert study.ask(SPACE).params.keys() == SPACE.keys()


@pytest.mark.parametrize(
    ("distribution", "count"),
    [
        (FloatDistribution(0, 1), LEVELS),
        (FloatDistribution(0, 1, step=0.25), 5),
        (FloatDistribution(1, 100, log=True), LEVELS),
        (IntDistribution(0, 10, step=5), 3),
        (IntDistribution(0, 10**6), LEVELS),
        (IntDistribution(1, 100, log=True), 100),
        (IntDistribution(3, 3), 1),
        (CategoricalDistribution(("a", True, 2, None)), 4),
    ],
)
def test_a_range_is_its_values_and_each_finds_its_place(distribution: object, count: int) -> None:
    axes = space_of({"p": distribution})  # type: ignore[dict-item]
    values = [axes.params(architecture)["p"] for architecture in axes.space.every()]
    assert len(values) == count
    assert [axes.params(axes.architecture({"p": value}))["p"] for value in values] == values
    if not isinstance(distribution, CategoricalDistribution):
        assert (values[0], values[-1]) == (distribution.low, distribution.high)  # type: ignore[attr-defined]
