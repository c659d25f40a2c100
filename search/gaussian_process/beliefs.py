"""What a search believes about networks that it has not evaluated: one model per metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.special import log_ndtr, ndtr

from search.gaussian_process.gain import exact_gain, normal_gain
from search.gaussian_process.improvement import Gain
from search.gaussian_process.normal_scale import NormalScale
from search.gaussian_process.regression import FIT_ROWS, Features, GaussianProcess, Posterior

# Models are learned anew when this many times the scores are known that they last saw; between, they are only
# conditioned on the new ones.
RELEARN = 1.1


class MetricModel:
    """One metric's model: a Gaussian process on normal scores, learned as evaluations come in.

    Costs are used throughout: less is better.
    """

    def __init__(self, like: Features) -> None:
        self._process = GaussianProcess(like)
        self._learned_at = 0
        self._posterior: Posterior | None = None
        self.scale = NormalScale(np.zeros(1))

    def see(self, features: Features, costs: np.ndarray) -> None:
        """Everything known by now, shape (num_known,); all finite."""
        self.scale = NormalScale(costs)
        scores = self.scale.score(costs)
        if len(costs) >= RELEARN * self._learned_at:
            chosen = _telling_rows(costs)
            self._process.learn(features.rows(chosen), scores[chosen])
            self._learned_at = len(costs)
        self._posterior = self._process.given(features, scores)

    def believe(self, features: Features) -> Belief:
        """What to expect of candidates."""
        assert self._posterior is not None
        mean, std, root = self._posterior.predict(features)
        return Belief(self.scale, mean, std, [Part(1.0, features, root, self._process)])


def _telling_rows(costs: np.ndarray) -> np.ndarray:
    """At most FIT_ROWS rows to learn relevances from: the better half by choice, the rest evenly over ranks."""
    order = np.argsort(costs, kind="stable")
    if len(order) <= FIT_ROWS:
        return np.sort(order)
    best, rest = order[: FIT_ROWS // 2], order[FIT_ROWS // 2 :]
    spread = np.linspace(0, len(rest) - 1, FIT_ROWS - len(best)).astype(int)
    return np.sort(np.concatenate([best, rest[spread]]))


class Scale(Protocol):
    """Costs to the scores on which a model has learned, and back (see `NormalScale`)."""

    def score(self, costs: np.ndarray) -> np.ndarray:
        """Scores of costs; growing."""

    def cost(self, scores: np.ndarray) -> np.ndarray:
        """Costs of scores."""

    def gain(self, levels: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """E[(level - cost)+] for costs whose scores are normal, shape (num_candidates, num_levels)."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one Gaussian process adds to a belief; those of a belief know nothing of each other.

    Attributes:
        weight: its values count times this.
        root: what its posterior gives (see `Posterior.predict`).
    """

    weight: float
    features: Features
    root: np.ndarray
    process: GaussianProcess

    def covariance(self, i: int) -> np.ndarray:
        """Posterior covariance of all candidates with one, shape (num_candidates,)."""
        one = self.features.rows(np.array([i]))
        prior = self.process.covariance(self.features, one)[:, 0]
        left: np.ndarray = self.weight**2 * (prior - self.root.T @ self.root[:, i])
        return left

    def rows(self, chosen: np.ndarray) -> Part:
        """The part for some of the candidates."""
        return Part(self.weight, self.features.rows(chosen), self.root[:, chosen], self.process)

    def weighed(self, weight: float) -> Part:
        """The same part with another weight."""
        return replace(self, weight=weight * self.weight)

    def with_more(self, other: Part) -> Part:
        """The part for these candidates and others."""
        features = self.features.followed_by(other.features)
        return Part(self.weight, features, np.concatenate([self.root, other.root], axis=1), self.process)


class Belief:
    """A metric of candidates: scores with mean and spread; shrinks as candidates are taken into a batch.

    Args:
        parts: whose sum it is, besides what is known for certain.
    """

    def __init__(self, scale: Scale, mean: np.ndarray, std: np.ndarray, parts: Sequence[Part]) -> None:
        self.scale, self.mean, self.std = scale, mean, std
        self._parts = list(parts)
        self._taken: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def parts(self) -> list[Part]:
        """What is not certain of it."""
        return list(self._parts)

    @property
    def costs(self) -> np.ndarray:
        """What each will probably cost."""
        return self.scale.cost(self.mean)

    def optimistic(self, by: float) -> np.ndarray:
        """Scores at so many standard deviations below the mean."""
        lower: np.ndarray = self.mean - by * self.std
        return lower

    def gain(self, view: str) -> Gain:
        """E[(level - cost)+] with levels in costs (`cost`) or in normal scores (`score`)."""
        if view == "cost":
            return lambda levels: self.scale.gain(levels, self.mean, self.std)
        return lambda levels: normal_gain(levels, self.mean, self.std)

    def expected(self, view: str, i: int) -> float:
        """What candidate `i` will probably score."""
        return float(self.scale.cost(self.mean[i : i + 1])[0] if view == "cost" else self.mean[i])

    def known(self, view: str, costs: np.ndarray) -> np.ndarray:
        """Costs of evaluated networks in this view."""
        return costs if view == "cost" else self.scale.score(costs)

    def log_probability_below(self, limit: float) -> np.ndarray:
        """Logarithm of the probability that the cost meets a limit."""
        z = (float(self.scale.score(np.array([limit]))[0]) - self.mean) / np.maximum(self.std, 1e-9)
        logs: np.ndarray = log_ndtr(z)
        return logs

    def take(self, i: int) -> None:
        """Candidate `i` will be evaluated: expect its mean, and trust its neighbours more (a *fantasy*)."""
        covariance = np.sum([part.covariance(i) for part in self._parts], axis=0)
        for earlier in self._taken:
            covariance = covariance - earlier * earlier[i]
        noise = sum(part.weight**2 * part.process.noise for part in self._parts)
        step = covariance / np.sqrt(max(covariance[i], 0.0) + noise + 1e-9)
        self._taken.append(step)
        self.std = np.sqrt(np.maximum(self.std**2 - step**2, 1e-12))

    def rows(self, chosen: np.ndarray) -> Belief:
        """The belief about some of the candidates."""
        assert not self._taken, "candidates are chosen before any is taken"
        return Belief(self.scale, self.mean[chosen], self.std[chosen], [part.rows(chosen) for part in self._parts])

    def with_more(self, other: Belief) -> Belief:
        """This belief and one about further candidates."""
        assert not self._taken, "candidates are added before any is taken"
        mean, std = np.concatenate([self.mean, other.mean]), np.concatenate([self.std, other.std])
        pairs = zip(self._parts, other._parts, strict=True)
        return Belief(self.scale, mean, std, [mine.with_more(theirs) for mine, theirs in pairs])


class Certainty:
    """A metric of candidates that is known exactly; meets the same needs as `Belief`."""

    def __init__(self, scale: Scale, costs: np.ndarray) -> None:
        self.scale, self._costs = scale, costs
        self.mean = scale.score(costs)

    def __len__(self) -> int:
        return len(self._costs)

    @property
    def costs(self) -> np.ndarray:
        """What each costs."""
        return self._costs

    def optimistic(self, by: float) -> np.ndarray:
        """The scores; there is nothing to hope for."""
        return self.mean

    def gain(self, view: str) -> Gain:
        """(level - cost)+."""
        values = self.known(view, self._costs)
        return lambda levels: exact_gain(levels, values)

    def expected(self, view: str, i: int) -> float:
        """The score of candidate `i`."""
        return float(self.known(view, self._costs)[i])

    def known(self, view: str, costs: np.ndarray) -> np.ndarray:
        """Costs in this view."""
        return costs if view == "cost" else self.scale.score(costs)

    def log_probability_below(self, limit: float) -> np.ndarray:
        """0 where the limit is met; elsewhere far below 0, and the further the excess, the lower."""
        excess = np.maximum(self._costs - limit, 0.0) / max(abs(limit), 1e-12)
        return np.where(excess > 0, -1e6 * (1 + excess), 0.0)

    def take(self, i: int) -> None:
        """Nothing to learn."""

    def rows(self, chosen: np.ndarray) -> Certainty:
        """Some of the candidates."""
        return Certainty(self.scale, self._costs[chosen])

    def with_more(self, other: Certainty) -> Certainty:
        """Further candidates."""
        return Certainty(self.scale, np.concatenate([self._costs, other._costs]))


class Exact:
    """A metric that a function gives: nothing is learned."""

    def __init__(self, cost_of: Callable[[np.ndarray], np.ndarray]) -> None:
        self._cost_of = cost_of
        self.scale = NormalScale(np.zeros(1))

    def see(self, costs: np.ndarray) -> None:
        """Everything known by now, for the scale alone."""
        self.scale = NormalScale(costs)

    def believe(self, genes: np.ndarray) -> Certainty:
        """The costs of candidates."""
        return Certainty(self.scale, self._cost_of(genes))


class Validity:
    """Whether a network gives scores at all; learned only once one did not."""

    def __init__(self, like: Features) -> None:
        self._process = GaussianProcess(like)
        self._posterior: Posterior | None = None

    def see(self, features: Features, valid: np.ndarray) -> None:
        """Which of the evaluated networks gave finite scores, shape (num_evaluated,), bool."""
        if not valid.all():
            chosen = np.unique(np.linspace(0, len(valid) - 1, min(len(valid), FIT_ROWS)).astype(int))
            labels = np.where(valid, 1.0, -1.0)
            self._process.learn(features.rows(chosen), labels[chosen], iterations=10)
            self._posterior = self._process.given(features, labels)

    def probability(self, features: Features) -> np.ndarray:
        """That candidates give scores (the sign of a regression on +1 and -1)."""
        if self._posterior is None:
            return np.ones(len(features.matrix))
        mean, std, _ = self._posterior.predict(features)
        chance: np.ndarray = ndtr(mean / np.sqrt(std**2 + self._process.noise))
        return chance
