"""What a search by gradient tells on its way: probabilities, entropy, expected latency; and the trainings after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supernet.data import Dataset
from supernet.evaluate import score
from supernet.proxyless.derive import most_likely
from supernet.proxyless.latency import Latencies
from supernet.proxyless.parameters import ArchitectureParameters
from supernet.proxyless.search import PathSearch
from supernet.trainer import Trainer
from workers.workshop import Workshop, make_evaluator

# Kind of the events that tell how a search by gradient goes; service/gradient.py reads them.
EVENT = "gradient"
# Points of a phase that are told, and those at which a network is validated.
POINTS, VALIDATIONS = 60, 10
# Decimals of the probabilities that are told.
DECIMALS = 4


class _Points:
    """Means of what steps show, told at most `POINTS` times a phase."""

    def __init__(self, shop: Workshop, data: Dataset, run: int) -> None:
        self._shop, self._data, self._run = shop, data, run
        self._sums: dict[str, list[float]] = {}

    def _collect(self, training: Trainer | PathSearch, shown: Mapping[str, float]) -> dict[str, float] | None:
        """Count a step; at a point, the means since the last one."""
        for name, value in shown.items():
            self._sums.setdefault(name, []).append(value)
        if not _is_point(training.steps_done, training.num_steps, POINTS):
            return None
        means = {name: sum(values) / len(values) for name, values in self._sums.items()}
        self._sums = {}
        return means


class SearchPoints(_Points):
    """Points of the search for one network."""

    def __init__(self, shop: Workshop, data: Dataset, run: int, latencies: Latencies) -> None:
        super().__init__(shop, data, run)
        self._latencies = latencies

    def add(self, training: Trainer | PathSearch, shown: Mapping[str, float]) -> None:
        """Count a step."""
        assert isinstance(training, PathSearch)
        means = self._collect(training, shown)
        if means is None:
            return
        facts = self.facts(training.parameters)
        if _is_point(training.steps_done, training.num_steps, VALIDATIONS):
            path = most_likely(training.parameters.probabilities())
            # Batch normalisation of the path is calibrated; its weights are shared with other paths.
            evaluator = make_evaluator(self._shop.spec, training.trainer.supernet, self._data)
            network = evaluator.network(training.parameters.architecture(path))
            facts[f"most_likely_{self._data.metric}"] = score(network, self._data.validation)
        epoch = round(training.steps_done / training.trainer.steps_per_epoch, 3)
        self._shop.reporter.event(EVENT, {"phase": "search", "run": self._run, "epoch": epoch, **means, **facts})

    def facts(self, parameters: ArchitectureParameters) -> dict[str, Any]:
        """Where the distribution over networks stands."""
        p = parameters.probabilities()
        probabilities = [[round(float(one), DECIMALS) for one in row] for row in p]
        entropies = parameters.entropies()
        return {
            "probabilities": probabilities,
            "entropy": sum(entropies) / len(entropies),
            "expected_ms": float(self._latencies.expected([alpha.detach().softmax(0) for alpha in parameters.alphas])),
            "most_likely_ms": self._latencies.of_path(most_likely(p)),
        }


class TrainingPoints(_Points):
    """Points of the training of one derived network."""

    def add(self, training: Trainer | PathSearch, shown: Mapping[str, float]) -> None:
        """Count a step."""
        means = self._collect(training, shown)
        if means is not None:
            epoch = round(training.steps_done * self._epochs / training.num_steps, 3)
            self._shop.reporter.event(EVENT, {"phase": "train", "run": self._run, "epoch": epoch, **means})

    @property
    def _epochs(self) -> int:
        part = self._shop.spec.gradient
        assert part is not None
        return part.final.epochs


def _is_point(steps_done: int, num_steps: int, points: int) -> bool:
    """Whether a step ends one of so many equal parts."""
    return steps_done * points // num_steps > (steps_done - 1) * points // num_steps
