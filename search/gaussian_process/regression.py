"""A Gaussian process over genes: what one metric is likely to be, and how far to trust that.

The kernel adds a linear and a product part over features of the genes (Rasmussen and Williams 2006, 4.2, 5.4.1),

    k(x, x') = a sum_f w_f x_f x'_f + s exp(-sum_f w_f (x_f - x'_f)^2),

with three kinds of features, whose relevances `w` the marginal likelihood finds:

- *matching options*: two networks differ by 1 where a choice does not match, by one half where only one of them
  has the choice, by 0 where neither has;
- *rank*: options are listed smallest first, so with three or more their distance may matter too;
- *pooled counts*: where several choices have the same options (the kernel of every block, the bits of every layer),
  how often each option is chosen, wherever that is.

Nobody has to say whether a choice is categorical or ordinal. The pooled counts are what makes few scores go far: on
NAS-Bench-201 they raised the rank correlation within the best tenth of the cells from 0.19 to 0.28 (docs/log.md).
Whoever knows more about the networks adds columns to these features (`Features.with_columns`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize

from search_space.encoding import active_mask, one_hot
from search_space.space import SearchSpace

# Scores from which relevances are learned: more would cost time and change them little.
FIT_ROWS = 300
# Added to the diagonal so that equal rows can be factorised.
JITTER = 1e-8
# Centres and spreads of the normal priors on the logarithms of: the relevance of a choice's own features, of pooled
# counts, the scales of the linear and the product part, and the variance of the noise. Scores have variance 1.
OWN_RELEVANCE, POOLED_RELEVANCE, RELEVANCE_SPREAD = 0.05, 0.3, 0.5
SCALE_SPREAD = 1.5
NOISE, NOISE_SPREAD = 1e-2, 1.0
# Standard deviations beyond which a score is doubted, and rounds of doubting.
STRANGE, OUTLIER_ROUNDS = 2.5, 5


@dataclass(frozen=True, slots=True)
class Features:
    """Numbers that the kernel compares.

    Attributes:
        matrix: shape (num_networks, num_features).
        groups: for each feature, which relevance scales it, shape (num_features,).
        typical: what each relevance is expected to be, shape (num_relevances,).
    """

    matrix: np.ndarray
    groups: np.ndarray
    typical: np.ndarray

    @property
    def num_relevances(self) -> int:
        """How many relevances there are to learn."""
        return len(self.typical)

    def rows(self, chosen: np.ndarray) -> Features:
        """The features of some of the networks."""
        return Features(self.matrix[chosen], self.groups, self.typical)

    def with_columns(self, columns: np.ndarray, typical: float) -> Features:
        """These features and more, each with a relevance of its own that is expected to be `typical`.

        Args:
            columns: shape (num_networks, num_columns), standardised.
        """
        count = columns.shape[1]
        return Features(
            np.concatenate([self.matrix, columns], axis=1),
            np.concatenate([self.groups, self.num_relevances + np.arange(count)]),
            np.concatenate([self.typical, np.full(count, typical)]),
        )


def kernel_features(space: SearchSpace, genes: np.ndarray, *, together: bool = False) -> Features:
    """Features of networks.

    Args:
        genes: canonical, shape (num_networks, num_choices).
        together: choices that decide alike in different places (`SearchSpace.alike`) weigh together as much as one
            choice, however many they are; otherwise each weighs as much as any other choice.
    """
    counts = space.option_counts
    active = active_mask(space, genes)
    ordered = np.flatnonzero(counts > 2)
    matching = one_hot(space, genes) - np.repeat(1 / counts, counts) * np.repeat(active, counts, axis=1)
    ranks = np.where(active, genes / np.maximum(counts - 1, 1) - 0.5, -0.5)[:, ordered]
    num_own = len(counts) + len(ordered)
    sizes = np.ones(len(counts))
    for group in space.alike if together else ():
        sizes[group] = len(group)
    columns = [matching / np.sqrt(2 * np.repeat(sizes, counts)), ranks / np.sqrt(sizes[ordered])]
    groups = [np.repeat(np.arange(len(counts)), counts), len(counts) + np.arange(len(ordered))]
    alike: dict[tuple[object, ...], list[int]] = {}
    for i, choice in enumerate(space.choices):
        alike.setdefault(choice.options, []).append(i)
    first = num_own
    for options, members in alike.items():
        if len(members) == 1:
            continue
        chosen = np.where(active[:, members], genes[:, members], -1)
        pooled = np.stack([(chosen == option).sum(axis=1) for option in range(len(options))], axis=1)
        if sizes[members].max() > 1:  # as shares of those that are there
            columns.append(pooled / np.maximum(pooled.sum(axis=1, keepdims=True), 1) - 1 / len(options))
        else:
            # Drawn at random, a count varies by about the root of the number of choices.
            columns.append((pooled - len(members) / len(options)) / np.sqrt(len(members)))
        groups.append(first + np.arange(len(options)))
        first += len(options)
    typical = np.full(first, POOLED_RELEVANCE)
    typical[:num_own] = OWN_RELEVANCE
    return Features(np.concatenate(columns, axis=1), np.concatenate(groups), typical)


class GaussianProcess:
    """Learns one metric; learning again with more scores starts from what was known.

    Args:
        like: features of the kind that it will see.
        noise, noise_spread: what the variance of the noise is expected to be, for values of variance 1, and the
            standard deviation of its logarithm about that.
    """

    def __init__(self, like: Features, noise: float = NOISE, noise_spread: float = NOISE_SPREAD) -> None:
        self._num = like.num_relevances
        self._centre = np.zeros(self._num + 3)
        self._centre[: self._num] = np.log(like.typical)
        self._centre[-1] = np.log(noise)
        self._spread = np.full(self._num + 3, RELEVANCE_SPREAD)
        self._spread[self._num :] = SCALE_SPREAD, SCALE_SPREAD, noise_spread
        self._theta = self._centre.copy()

    @property
    def noise(self) -> float:
        """Variance of a score about what the features explain; the variance of all scores is 1."""
        return float(np.exp(self._theta[-1]))

    def learn(self, features: Features, values: np.ndarray, iterations: int = 30) -> None:
        """Relevances, scales and noise of maximum posterior density (L-BFGS on equation 5.8, with priors).

        Args:
            values: standardised, shape (num_networks,).
        """
        bounds = [(c - 4 * s, c + 4 * s) for c, s in zip(self._centre, self._spread, strict=True)]
        found = optimize.minimize(
            self._loss,
            self._theta,
            args=(features, values),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": iterations},
        )
        self._theta = found.x

    def _parts(self, theta: np.ndarray, features: Features) -> tuple[np.ndarray, float, float, float]:
        """Weight of each feature, scale of the linear part, of the product part, and noise."""
        linear, product, noise = np.exp(theta[self._num :])
        return np.exp(theta[: self._num])[features.groups], float(linear), float(product), float(noise)

    def _loss(self, theta: np.ndarray, features: Features, values: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative log posterior and its gradient (equations 5.8 and 5.9)."""
        x, n = features.matrix, len(values)
        weights, linear, product, noise = self._parts(theta, features)
        inner = (x * weights) @ x.T
        squares = np.diag(inner)
        product_part = product * np.exp(-np.maximum(squares[:, None] + squares - 2 * inner, 0))
        covariance = linear * inner + product_part
        covariance[np.diag_indices(n)] += noise + JITTER
        try:
            factor = linalg.cholesky(covariance, lower=True, check_finite=False)
        except linalg.LinAlgError:  # the line search went where scales cannot be told apart; step back
            return 1e25, np.zeros_like(theta)
        alpha = linalg.cho_solve((factor, True), values, check_finite=False)
        z = (theta - self._centre) / self._spread
        loss = 0.5 * values @ alpha + np.log(np.diag(factor)).sum() + 0.5 * z @ z
        # d loss / d covariance = (covariance^-1 - alpha alpha^T) / 2
        slope = linalg.cho_solve((factor, True), np.eye(n), check_finite=False)
        slope = 0.5 * (slope - np.outer(alpha, alpha))
        pull = slope * product_part
        # sum_ij p_ij (x_i - x_j)^2 = 2 (sum_i r_i x_i^2 - x^T p x), with r the sums of p's rows
        by_feature = -2 * ((pull.sum(axis=1)[:, None] * x * x).sum(axis=0) - (x * (pull @ x)).sum(axis=0))
        by_feature += linear * (x * (slope @ x)).sum(axis=0)
        gradient = np.empty_like(theta)
        gradient[: self._num] = np.bincount(features.groups, by_feature * weights, minlength=self._num)
        gradient[self._num :] = linear * (slope * inner).sum(), pull.sum(), noise * np.trace(slope)
        return float(loss), gradient + z / self._spread

    def covariance(self, first: Features, second: Features) -> np.ndarray:
        """k(x, x') without noise, shape (num_first, num_second)."""
        weights, linear, product, _ = self._parts(self._theta, first)
        weighted = first.matrix * weights
        inner = weighted @ second.matrix.T
        squares = (weighted * first.matrix).sum(axis=1)[:, None] + (second.matrix**2 * weights).sum(axis=1)
        part: np.ndarray = linear * inner + product * np.exp(-np.maximum(squares - 2 * inner, 0))
        return part

    def variance(self, features: Features) -> np.ndarray:
        """k(x, x) without noise, shape (num_networks,)."""
        weights, linear, product, _ = self._parts(self._theta, features)
        prior: np.ndarray = linear * (features.matrix**2 * weights).sum(axis=1) + product
        return prior

    def given(self, features: Features, values: np.ndarray, doubts: np.ndarray | float = 1.0) -> Posterior:
        """What is believed after these scores.

        Args:
            doubts: how many times the noise's variance each score has.
        """
        covariance = self.covariance(features, features)
        covariance[np.diag_indices(len(covariance))] += self.noise * doubts + JITTER
        factor = linalg.cholesky(covariance, lower=True, check_finite=False)
        return Posterior(self, features, factor, linalg.solve_triangular(factor, values, lower=True))

    def doubts(self, features: Features, values: np.ndarray) -> np.ndarray:
        """How many times the noise's variance each score should have, shape (num_networks,), 1 for most.

        A score that the others, leaving it out, predict wrong by more than `STRANGE` standard deviations gets noise to
        match, over a few rounds. A device that was busy for one measurement then does not bend the predictions
        around it.
        """
        doubts = np.ones(len(values))
        for _ in range(OUTLIER_ROUNDS):
            error, std = self.given(features, values, doubts).left_out()
            strange = np.abs(error) / std / STRANGE
            if (strange <= 1).all():
                break
            doubts = np.where(strange > 1, doubts * strange**2, doubts)
        return doubts


@dataclass(frozen=True, slots=True)
class Posterior:
    """A Gaussian process given scores (equations 2.25 and 2.26).

    Attributes:
        features: features of the scored networks.
        factor: lower Cholesky factor of their covariance with noise.
        white: the factor's inverse times the scores.
    """

    process: GaussianProcess
    features: Features
    factor: np.ndarray
    white: np.ndarray

    def left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Error of each score as the others predict it, and that prediction's standard deviation with noise
        (equations 5.12 and 5.13)."""
        inverse = linalg.cho_solve((self.factor, True), np.eye(len(self.white)), check_finite=False)
        weights = linalg.solve_triangular(self.factor, self.white, lower=True, trans="T", check_finite=False)
        precision = np.diag(inverse)
        return weights / precision, 1 / np.sqrt(precision)

    def root(self, features: Features) -> np.ndarray:
        """The factor's inverse times the covariance with other networks, shape (num_scored, num_networks)."""
        covariance = self.process.covariance(self.features, features)
        solved: np.ndarray = linalg.solve_triangular(self.factor, covariance, lower=True, check_finite=False)
        return solved

    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, standard deviation without noise, and the root that `Fantasy` needs."""
        root = self.root(features)
        variance = self.process.variance(features) - (root * root).sum(axis=0)
        return self.white @ root, np.sqrt(np.maximum(variance, 1e-12)), root
