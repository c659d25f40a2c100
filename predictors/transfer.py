"""How much of known devices is worth: several predictors that are told more or fewer of them, weighed by validation.

A known device that is unlike the new one teaches what is wrong, and ten measurements leave a marginal likelihood room
to believe it. So there is an expert that is told no device, one that is told all of them, and one for each device
alone; every measurement is predicted by experts that did not see it, and the experts are weighed by how likely they
found it (stacking of predictive distributions, Yao, Vehtari, Simpson and Gelman 2018, Bayesian Analysis 13: 917,
equation 4, with a Dirichlet prior that expects nothing of devices).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from predictors.devices import Device
from predictors.predictor import Predictor
from search_space.architecture import Architecture
from search_space.space import SearchSpace

# With at most so many different networks each is left out by itself; more are left out in folds.
LEFT_OUT, FOLDS = 20, 5
# Measurements' worth of belief that each expert gets before there is any.
PRIOR = 1.0
# Experts of less weight are not asked.
LEAST_WEIGHT = 0.01
ROUNDS = 200
# Fewer examples than this validate nothing: devices are then told or not as most targets have it.
MIN_VALIDATED = 4

Maker = Callable[[Sequence[Device]], Predictor]


class TransferPredictor(Predictor):
    """A mixture of predictors that are told different known devices.

    Attributes:
        weights: how far each expert is believed, by the devices that it is told; `()` stands for none.

    Args:
        make: a predictor that is told these devices.
        quick: the same for validation, where dozens are fitted.
    """

    def __init__(self, space: SearchSpace, devices: Sequence[Device], make: Maker, quick: Maker, seed: int = 0) -> None:
        super().__init__(space, seed)
        self.devices = tuple(devices)
        self._make, self._quick = make, quick
        alone = [(device,) for device in self.devices] if len(self.devices) > 1 else []
        self._told: list[tuple[Device, ...]] = [(), self.devices, *alone]
        self.weights: dict[tuple[str, ...], float] = {}

    def _fit(self, architectures: Sequence[Architecture], values: np.ndarray) -> None:
        weights = stacked(self._validated(architectures, values))
        weights = np.where(weights < LEAST_WEIGHT, 0.0, weights)
        weights /= weights.sum()
        self.weights = {
            tuple(device.name for device in told): float(weight)
            for told, weight in zip(self._told, weights, strict=True)
        }
        self._experts: list[tuple[float, Predictor]] = []
        for told, weight in zip(self._told, weights.tolist(), strict=True):
            if weight > 0:
                expert = self._make(told)
                expert.fit(architectures, values)
                self._experts.append((weight, expert))

    @property
    def chosen(self) -> str:
        """The heaviest expert, in words."""
        told = max(self.weights, key=lambda names: self.weights[names])
        return f"with {', '.join(told)}" if told else "without known devices"

    def _predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        """Moments of the mixture."""
        mean, square = np.zeros(len(architectures)), np.zeros(len(architectures))
        for weight, expert in self._experts:
            centre, std = expert.predict(architectures)
            mean += weight * centre
            square += weight * (std**2 + centre**2)
        return mean, np.sqrt(np.maximum(square - mean**2, np.finfo(float).tiny))

    def _validated(self, architectures: Sequence[Architecture], values: np.ndarray) -> np.ndarray:
        """Log density of each example under experts that did not see it, shape (num_experts, num_examples)."""
        networks = {a.id: i for i, a in enumerate(dict.fromkeys(architectures))}
        folds = len(networks) if len(networks) <= LEFT_OUT else FOLDS
        order = np.random.default_rng(self.seed).permutation(len(networks)) % folds
        fold_of = order[[networks[a.id] for a in architectures]]
        found = np.zeros((len(self._told), len(values)))
        if len(networks) < MIN_VALIDATED:
            return found
        for fold in range(folds):
            held, rest = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
            unseen = [architectures[i] for i in held.tolist()]
            for row, told in zip(found, self._told, strict=True):
                expert = self._quick(told)
                expert.fit([architectures[i] for i in rest.tolist()], values[rest])
                mean, std = expert.predict(unseen)
                row[held] = -0.5 * ((values[held] - mean) / std) ** 2 - np.log(std)
        return found


def stacked(densities: np.ndarray) -> np.ndarray:
    """Weights that make left-out examples most likely under the mixture, shape (num_experts,); they sum to 1.

    Expectation maximisation with `PRIOR` examples' worth of prior for each expert.

    Args:
        densities: logarithms, shape (num_experts, num_examples).
    """
    likely = np.exp(densities - densities.max(axis=0))
    weights = np.full(len(likely), 1 / len(likely))
    for _ in range(ROUNDS):
        shares = weights[:, None] * likely
        shares /= shares.sum(axis=0)
        weights = PRIOR + shares.sum(axis=1)
        weights /= weights.sum()
    return weights
