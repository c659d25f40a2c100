"""Winnow's search as a sampler of optuna.

    import optuna
    from winnow.optuna import WinnowSampler

    study = optuna.create_study(directions=["minimize", "maximize"], sampler=WinnowSampler(seed=0))
    study.optimize(objective, n_trials=100)

It passes the test classes of `optuna.testing.pytest_samplers` for basic, relative and multi-objective sampling
(`tests/winnow/test_optuna.py`). `space_of` is the bridge by itself: distributions in, a search space out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.algorithms import make_algorithm
from search.algorithms.winnow.algorithm import WinnowSearch
from search.candidates import Breeder
from search.evaluation import Evaluation
from search.objectives import Constraint, Objective
from search_space import Choice, SearchSpace
from search_space.architecture import Architecture

# Points of a range that has more values than that, or is continuous: a thousandth of the range is finer than what
# some hundred trials can tell apart.
LEVELS = 1001
MOST_OBJECTIVES = 4


@dataclass(frozen=True)
class Axis:
    """A parameter as a choice: what it may be, and where each value lies on its scale.

    Attributes:
        values: as the objective gets them.
        places: where the values lie on the scale, which is the logarithm's for `log`; rising. None: categories.
    """

    name: str
    values: tuple[Any, ...]
    places: tuple[float, ...] | None

    @classmethod
    def of(cls, name: str, distribution: BaseDistribution) -> Axis:
        """The axis of a distribution.

        Raises:
            ValueError: a distribution that is neither of numbers nor of categories.
        """
        if isinstance(distribution, CategoricalDistribution):
            return cls(name, tuple(distribution.choices), None)
        if not isinstance(distribution, FloatDistribution | IntDistribution):
            raise ValueError(
                f"Parameter {name!r} has a {type(distribution).__name__}; known are FloatDistribution, "
                "IntDistribution and CategoricalDistribution."
            )
        values = _numbers(distribution)
        return cls(name, values, tuple(_placed(distribution, value) for value in values))

    def choice(self) -> Choice:
        """The choice of a search space; its options are categories by number, or places."""
        options = tuple(range(len(self.values))) if self.places is None else self.places
        return Choice(self.name, options, numerical=self.places is not None)

    def gene(self, distribution: BaseDistribution, value: Any) -> int:
        """The position of a value, or of the one that is nearest to it."""
        if self.places is None:
            return int(distribution.to_internal_repr(value))
        places = np.array(self.places)
        return int(np.abs(places - _placed(distribution, value)).argmin())


def _placed(distribution: BaseDistribution, value: float) -> float:
    """Where a number lies on its distribution's scale."""
    return math.log(value) if getattr(distribution, "log", False) else float(value)


def _numbers(distribution: FloatDistribution | IntDistribution) -> tuple[Any, ...]:
    """Every value of a range, or `LEVELS` of them that are evenly spaced on its scale; rising, each once."""
    low, high, step = distribution.low, distribution.high, distribution.step
    whole = isinstance(distribution, IntDistribution)
    if step is not None and not distribution.log:
        count = round((high - low) / step) + 1
        steps = range(count) if count <= LEVELS else np.linspace(0, count - 1, LEVELS).round().astype(int).tolist()
        return tuple(min(low + k * step, high) if not whole else int(low + k * step) for k in steps)
    if low == high:
        return (low,)
    if whole and high - low < LEVELS:
        return tuple(range(int(low), int(high) + 1))
    spaced = np.geomspace(low, high, LEVELS) if distribution.log else np.linspace(low, high, LEVELS)
    inside = np.clip(spaced, low, high)
    return tuple(np.unique(inside.round().astype(int) if whole else inside).tolist())


class Axes:
    """The parameters of a study as a search space, and back.

    Attributes:
        space: one choice for each parameter.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self._distributions = dict(distributions)
        self._axes = tuple(Axis.of(name, distribution) for name, distribution in distributions.items())
        self.space = SearchSpace("optuna", [axis.choice() for axis in self._axes])

    def architecture(self, params: Mapping[str, Any]) -> Architecture:
        """Values of all parameters, each moved to the nearest point of its axis."""
        genes = [axis.gene(self._distributions[axis.name], params[axis.name]) for axis in self._axes]
        return self.space.from_genes(genes)

    def params(self, architecture: Architecture) -> dict[str, Any]:
        """What the objective gets."""
        return {axis.name: axis.values[gene] for axis, gene in zip(self._axes, architecture.genes, strict=True)}


def space_of(distributions: Mapping[str, BaseDistribution]) -> Axes:
    """Distributions of optuna as a search space, for whoever runs `search.algorithms` on them.

    Raises:
        ValueError: no parameters, or a distribution of another kind.
    """
    return Axes(distributions)


class WinnowSampler(BaseSampler):
    """Expected hypervolume improvement over Gaussian processes, for one to four objectives (docs/search.md).

    The first `n_startup_trials` are a scrambled Sobol sequence. From then on every trial is weighed by all that the
    study knows: values, constraints (`trial.set_constraint`; met at 0 and below), failed trials, which it learns to
    avoid, and trials that run, which count as evaluated at their means. Pruned trials are not learned from. It keeps
    nothing between trials, so any number of threads and processes may share a study, and one seed gives one course
    where trials run one after another.

    Without `space` the parameters are those that all finished trials have in common, so until the first has finished
    they are drawn at random; and those that some trials lack, or whose range changes, always are. Ranges of floats, and
    of more than 1,001 integers, are searched at 1,001 points.

    Args:
        space: distributions of the parameters, if they are known beforehand.
        seed: decides everything random; None: another one each time.
        n_startup_trials: completed trials before anything is learned; at least 2.

    Raises:
        ValueError: fewer than 2 startup trials, or a distribution that is neither of numbers nor of categories; in a
            trial, a study of more than four objectives.
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution] | None = None,
        *,
        seed: int | None = None,
        n_startup_trials: int = 10,
    ) -> None:
        if n_startup_trials < 2:
            raise ValueError(f"Got {n_startup_trials} startup trials; a model needs at least 2.")
        for name, distribution in (space or {}).items():
            Axis.of(name, distribution)
        self._space = None if space is None else dict(space)
        self._entropy = np.random.SeedSequence(seed).entropy
        self._startup = n_startup_trials
        self._independent = RandomSampler(seed=seed)
        self._common = IntersectionSearchSpace()

    def reseed_rng(self) -> None:
        """Independent draws differ from now on; proposals do so by themselves, as trials have numbers."""
        self._independent.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Those of `space`, or that every finished trial has, with more than one value."""
        common = self._common.calculate(study) if self._space is None else self._space
        return {name: distribution for name, distribution in common.items() if not distribution.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of all parameters of the space together."""
        if len(study.directions) > MOST_OBJECTIVES:
            raise ValueError(
                f"The study has {len(study.directions)} objectives; WinnowSampler takes at most {MOST_OBJECTIVES}. "
                "Make constraints of some (trial.set_constraint), or use another sampler."
            )
        if not search_space:
            return {}
        axes = space_of(search_space)
        states = (TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING)
        others = study.get_trials(deepcopy=False, states=states)
        whole = [t for t in others if t.number != trial.number and search_space.keys() <= t.params.keys()]
        known = [t for t in whole if t.state != TrialState.RUNNING]
        if sum(t.state == TrialState.COMPLETE for t in known) < self._startup:
            return axes.params(self._spread(axes.space, trial.number))
        running = [axes.architecture(t.params) for t in whole if t.state == TrialState.RUNNING]
        try:
            best = self._search(axes, study.directions, known, trial.number).best_next(running)
        except _NothingToLearn:
            return axes.params(self._spread(axes.space, trial.number))
        # Every point was tried; an objective with noise may go on.
        return axes.params(best or axes.space.sample(np.random.default_rng(self._seed(trial.number))))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _seed(self, number: int) -> int:
        """Seed of one trial."""
        assert self._entropy is not None
        return int(np.random.SeedSequence(self._entropy, spawn_key=(number,)).generate_state(1)[0])

    def _spread(self, space: SearchSpace, number: int) -> Architecture:
        """The point of the first design that belongs to a trial."""
        first = Breeder(space, np.random.default_rng(self._entropy))
        return space.from_genes(first.even(number + 1)[number])

    def _search(
        self, axes: Axes, directions: Sequence[StudyDirection], trials: Sequence[FrozenTrial], number: int
    ) -> WinnowSearch:
        """A search that knows the trials.

        Raises:
            _NothingToLearn: fewer than two trials have finite values.
        """
        names = [f"value {i}" for i in range(len(directions))]
        limits = sorted({name for trial in trials for name in trial.constraints})
        objectives = [
            Objective(name, "maximize" if direction == StudyDirection.MAXIMIZE else "minimize")
            for name, direction in zip(names, directions, strict=True)
        ]
        evaluations = [
            Evaluation(
                axes.architecture(trial.params),
                dict(zip(names, trial.values or [math.nan] * len(names), strict=True))
                | {f"limit {name}": trial.constraints.get(name, math.nan) for name in limits},
            )
            for trial in trials
        ]
        if sum(all(map(math.isfinite, e.metrics.values())) for e in evaluations) < 2:
            raise _NothingToLearn
        found = make_algorithm(
            "winnow",
            axes.space,
            objectives,
            seed=self._seed(number),
            constraints=[Constraint(f"limit {name}", 0.0) for name in limits],
            warm_start=evaluations,
        )
        assert isinstance(found, WinnowSearch)
        return found


class _NothingToLearn(Exception):
    """Fewer than two trials have finite values and constraints."""
