"""A Gaussian process over genes: what one metric is likely to be, and how far to trust that.

The kernel adds a linear and a product part over features of the genes (Rasmussen and Williams 2006, 4.2, 5.4.1),

    k(x, x') = a sum_f w_f (x_f - m_f)(x'_f - m_f) + s exp(-sum_f w_f (x_f - x'_f)^2),

where every choice has one relevance `w` for *matching options* and, with three options or more, another for
*distance in rank*, because options are listed smallest first. Categorical and ordinal choices need not be told
apart by the user: the marginal likelihood finds which relevance the data support. A choice that one network has
and another has not counts as half a mismatch; one that neither has does not count.
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


@dataclass(frozen=True, slots=True)
class Features:
    """Numbers that the kernel compares.

    Attributes:
        matrix: shape (num_networks, num_features).
        groups: for each feature, which relevance scales it, shape (num_features,).
    """

    matrix: np.ndarray
    groups: np.ndarray


def kernel_features(space: SearchSpace, genes: np.ndarray) -> Features:
    """Features of networks: two rows differ by 1 in squared distance for each choice that does not match.

    Args:
        genes: shape (num_networks, num_choices).
    """
    counts = space.option_counts
    active = active_mask(space, genes)
    matching = one_hot(space, genes) - np.repeat(1 / counts, counts) * np.repeat(active, counts, axis=1)
    ordered = np.flatnonzero(counts > 2)
    ranks = np.where(active, genes / np.maximum(counts - 1, 1) - 0.5, -0.5)[:, ordered]
    columns = [matching / np.sqrt(2), ranks]
    groups = [np.repeat(np.arange(len(counts)), counts), len(counts) + np.arange(len(ordered))]
    num = len(counts) + len(ordered)
    alike: dict = {}
    for i, choice in enumerate(space.choices):
        alike.setdefault(choice.options, []).append(i)
    for options, members in alike.items():
        if len(members) > 1:
            here = active[:, members]
            pooled = np.stack([((genes[:, members] == o) & here).sum(axis=1) for o in range(len(options))], axis=1)
            columns.append(pooled / np.sqrt(len(members)) - np.sqrt(len(members)) / len(options))
            groups.append(num + np.arange(len(options)))
            num += len(options)
    return Features(np.concatenate(columns, axis=1), np.concatenate(groups))


def num_relevances(space):
    return int(kernel_features(space, np.zeros((1, len(space.choices)), dtype=np.int64)).groups.max()) + 1


class GaussianProcess:
    """Learns one metric from scores; fit again with more scores, it starts from what it knew.

    Args:
        num_groups: number of relevances.
    """

    def __init__(self, num_groups: int, num_choices: int) -> None:
        # Logarithms of: relevances, scale of the linear part, scale of the product part, noise (variances).
        self._centre = np.concatenate([np.full(num_groups, np.log(1.0 / num_choices)), [0.0, 0.0, np.log(1e-3)]])
        self._spread = np.concatenate([np.full(num_groups, 1.5), [1.5, 1.5, 2.0]])
        self._theta = self._centre.copy()

    @property
    def noise(self) -> float:
        return float(np.exp(self._theta[-1]))

    def learn(self, features: Features, values: np.ndarray, iterations: int) -> float:
        """Fit relevances, scales and noise by maximum posterior; returns its logarithm."""
        result = optimize.minimize(
            self._loss,
            self._theta,
            args=(features, values),
            jac=True,
            method="L-BFGS-B",
            bounds=[(c - 4 * s, c + 4 * s) for c, s in zip(self._centre, self._spread, strict=True)],
            options={"maxiter": iterations},
        )
        self._theta = result.x
        return -float(result.fun)

    def _loss(self, theta: np.ndarray, features: Features, values: np.ndarray) -> tuple[float, np.ndarray]:
        x, groups = features.matrix, features.groups
        n, num = len(values), len(theta) - 3
        weights = np.exp(theta[:num])[groups]
        linear, product, noise = np.exp(theta[num:])
        scaled = x * weights
        inner = scaled @ x.T
        squares = np.diag(inner)
        product_part = product * np.exp(-np.maximum(squares[:, None] + squares - 2 * inner, 0))
        k = linear * inner + product_part
        k[np.diag_indices(n)] += noise + JITTER
        try:
            factor = linalg.cholesky(k, lower=True, check_finite=False)
        except linalg.LinAlgError:
            return 1e25, np.zeros_like(theta)
        alpha = linalg.cho_solve((factor, True), values, check_finite=False)
        z = (theta - self._centre) / self._spread
        loss = 0.5 * values @ alpha + np.log(np.diag(factor)).sum() + 0.5 * n * np.log(2 * np.pi) + 0.5 * z @ z
        # d loss / d k = (k^-1 - alpha alpha^T) / 2
        slope = linalg.cho_solve((factor, True), np.eye(n), check_finite=False)
        slope = 0.5 * (slope - np.outer(alpha, alpha))
        a = slope * product_part
        # sum_ij a_ij (x_i - x_j)^2 = 2 (sum_i r_i x_i^2 - x^T a x), r the row sums
        both = a @ x
        by_feature = -2 * ((a.sum(axis=1)[:, None] * x * x).sum(axis=0) - (x * both).sum(axis=0))
        by_feature += linear * (x * (slope @ x)).sum(axis=0)
        gradient = np.empty_like(theta)
        gradient[:num] = np.bincount(groups, by_feature * weights, minlength=num)
        gradient[num] = linear * (slope * inner).sum()
        gradient[num + 1] = a.sum()
        gradient[num + 2] = noise * np.trace(slope)
        return float(loss), gradient + z / self._spread

    def kernel(self, first: np.ndarray, second: np.ndarray, groups: np.ndarray) -> np.ndarray:
        num = len(self._theta) - 3
        weights = np.exp(self._theta[:num])[groups]
        linear, product, _ = np.exp(self._theta[num:])
        inner = (first * weights) @ second.T
        squares = (first * first * weights).sum(axis=1)[:, None] + (second * second * weights).sum(axis=1)
        return linear * inner + product * np.exp(-np.maximum(squares - 2 * inner, 0))

    def diagonal(self, x: np.ndarray, groups: np.ndarray) -> np.ndarray:
        num = len(self._theta) - 3
        weights = np.exp(self._theta[:num])[groups]
        linear, product, _ = np.exp(self._theta[num:])
        return linear * (x * x * weights).sum(axis=1) + product

    def condition(self, features: Features, values: np.ndarray) -> Posterior:
        k = self.kernel(features.matrix, features.matrix, features.groups)
        k[np.diag_indices(len(k))] += self.noise + JITTER
        factor = linalg.cholesky(k, lower=True, check_finite=False)
        return Posterior(self, features, factor, linalg.solve_triangular(factor, values, lower=True))


class Posterior:
    def __init__(self, process, features, factor, white) -> None:
        self.process, self.features, self.factor, self.white = process, features, factor, white

    def root(self, x: Features) -> np.ndarray:
        k = self.process.kernel(self.features.matrix, x.matrix, x.groups)
        return linalg.solve_triangular(self.factor, k, lower=True, check_finite=False)

    def predict(self, x: Features):
        root = self.root(x)
        mean = self.white @ root
        var = np.maximum(self.process.diagonal(x.matrix, x.groups) - (root * root).sum(axis=0), 1e-12)
        return mean, np.sqrt(var), root
