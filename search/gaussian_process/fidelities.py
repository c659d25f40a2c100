"""A metric at several fidelities: linear autoregression from each to the next.

Kennedy and O'Hagan, "Predicting the output from a complex computer code when fast approximations are available",
Biometrika 2000, equation 1: a level is a multiple of the one below and a Gaussian process of its own,

    y_t(x) = a_t + r_t y_{t-1}(x) + d_t(x).

Every network of a level has a score below, so each step is learned alone (Le Gratiet and Garnier 2014, section 3.1):
of what a network has scored nothing is predicted again, and its own luck is carried upwards with it. What is not known
of r_t is left out of the spreads; with few networks it is drawn to 1.
"""

from __future__ import annotations

import numpy as np

from search.gaussian_process.beliefs import Belief, MetricModel, Part, Scale
from search.gaussian_process.linear_scale import LinearScale
from search.gaussian_process.regression import Features, GaussianProcess, Posterior

# Networks of a level without which its step is not learned: the level is then believed to be as the one below, but for
# differences of this size (scores below have spread 1).
LEAST_NETWORKS, PRIOR_SIZE = 4, 0.7
# Normal priors of the intercept and the slope: centre and standard deviation.
CENTRE, SPREAD = np.array([0.0, 1.0]), np.array([1.0, 1.0])
# Expected share of the differences that features do not explain; rounds of fitting slope and differences in turn.
NOISE, ROUNDS = 0.1, 3
# Least size of differences.
LEAST_SIZE = 1e-3


class _Step:
    """From one level to the next; scores are those of the levels' scales."""

    def __init__(self, like: Features, below: Scale) -> None:
        self.scale: Scale = below
        self.intercept, self.slope = CENTRE
        self.size = PRIOR_SIZE
        self._process = GaussianProcess(like, NOISE)
        self._posterior: Posterior | None = None

    @property
    def is_learned(self) -> bool:
        """Whether enough networks are known."""
        return self._posterior is not None

    def learn(self, features: Features, below: np.ndarray, costs: np.ndarray) -> None:
        """From networks that both levels know.

        Args:
            below: scores at the level below, shape (num_networks,).
            costs: at this level.
        """
        self.scale = LinearScale(costs)
        scores = self.scale.score(costs)
        known = np.stack([np.ones(len(below)), below], axis=1)
        covariance = np.eye(len(below))
        for _ in range(ROUNDS):
            self.intercept, self.slope = _generalised_least_squares(known, scores, covariance)
            left = scores - self.intercept - self.slope * below
            self.size = max(float(np.sqrt((left**2).mean())), LEAST_SIZE)
            self._process.learn(features, left / self.size)
            explained = self._process.covariance(features, features)
            covariance = self.size**2 * (explained + self._process.noise * np.eye(len(below)))
        self._posterior = self._process.given(features, left / self.size)

    def differences(self, features: Features, weight: float) -> tuple[np.ndarray, np.ndarray, Part]:
        """Mean and standard deviation of what a network has beyond the slope, and the part of a belief that it is.

        Args:
            weight: weight of this level's scores in those of the highest.
        """
        if self._posterior is None:
            root = np.zeros((0, len(features.matrix)))
            mean, std = np.zeros(len(features.matrix)), np.sqrt(self._process.variance(features))
        else:
            mean, std, root = self._posterior.predict(features)
        return self.size * mean, self.size * std, Part(weight * self.size, features, root, self._process)


def _generalised_least_squares(known: np.ndarray, scores: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Intercept and slope of maximum posterior density under correlated errors."""
    precision = np.diag(1 / SPREAD**2)
    weighed = np.linalg.solve(covariance, np.column_stack([known, scores]))
    left = known.T @ weighed[:, :2] + precision
    solved: np.ndarray = np.linalg.solve(left, known.T @ weighed[:, 2] + precision @ CENTRE)
    return solved


class FidelityModel:
    """One metric's models: a `MetricModel` of networks as they were found, and a step to each level above.

    Costs are used throughout: less is better.

    Args:
        lowest: the model of level 0, with what it has learned.
    """

    def __init__(self, like: Features, lowest: MetricModel) -> None:
        self._like, self._lowest = like, lowest
        self._steps: list[_Step] = []

    def see(self, features: Features, costs: np.ndarray) -> None:
        """Everything known of level 0, shape (num_known,); all finite. Levels above are to be seen again."""
        self._lowest.see(features, costs)
        self._steps = []

    def see_higher(self, features: Features, below: np.ndarray, costs: np.ndarray) -> None:
        """The next level: costs of its networks at the level below, and at this one."""
        scale = self._scale(len(self._steps))
        step = _Step(self._like, scale)
        if len(costs) >= LEAST_NETWORKS:
            step.learn(features, scale.score(below), costs)
        self._steps.append(step)

    def believe(self, features: Features) -> Belief:
        """What to expect of networks that were never scored, at the highest level of which anything is learned."""
        lowest, top = self._lowest.believe(features), self._learned
        parts = [part.weighed(self._weight(0, top)) for part in lowest.parts]
        return self._climbed(0, top, features, lowest.mean, lowest.std, parts)

    def believe_from(self, level: int, features: Features, costs: np.ndarray) -> Belief:
        """What to expect at the highest level of networks whose costs at a level are known."""
        scores = self._scale(level).score(costs)
        return self._climbed(level, len(self._steps), features, scores, np.zeros(len(costs)), [])

    @property
    def _learned(self) -> int:
        """The highest level up to which every step is learned."""
        learned = [step.is_learned for step in self._steps]
        return learned.index(False) if False in learned else len(learned)

    def _climbed(
        self, level: int, top: int, features: Features, mean: np.ndarray, std: np.ndarray, parts: list[Part]
    ) -> Belief:
        """From a level up to another.

        Args:
            mean, std: mean and standard deviation of scores at the level.
            parts: parts of what is not certain of these.
        """
        variance = std**2
        for number, step in enumerate(self._steps[level:top], level + 1):
            more, spread, part = step.differences(features, self._weight(number, top))
            mean = step.intercept + step.slope * mean + more
            variance = step.slope**2 * variance + spread**2
            parts = [*parts, part]
        return Belief(self._scale(top), mean, np.sqrt(np.maximum(variance, 1e-12)), parts)

    def _scale(self, level: int) -> Scale:
        return self._lowest.scale if level == 0 else self._steps[level - 1].scale

    def _weight(self, level: int, top: int) -> float:
        """Weight of a level's scores in those of a higher one."""
        return float(np.prod([step.slope for step in self._steps[level:top]]))
