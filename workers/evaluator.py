"""Evaluator: a trained supernet and its data, bound together to score architectures."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from predictors.cost import costs
from search.evaluation import Evaluation
from search.metrics import METRICS
from search_space.architecture import Architecture
from supernet.calibrate import calibrate
from supernet.data import Dataset
from supernet.evaluate import score
from supernet.network import Network, Supernet, extract
from supernet.randomness import derived_rng

# Training images in one forward pass of a calibration.
CALIBRATION_BATCH = 256


class Evaluator:
    """Scores architectures by what they would be if they were shipped now: extracted and calibrated.

    Args:
        calibration_images: number of training images that re-estimate batch-norm statistics; the same
            images for every architecture.
        seed: decides which.
    """

    def __init__(self, supernet: Supernet, data: Dataset, calibration_images: int, seed: int) -> None:
        self.supernet, self.data = supernet, data
        chosen = derived_rng(seed, "calibration", 0).permutation(len(data.train))[:calibration_images]
        # Stored images, a sixteenth of the memory that ready inputs of colour images would take.
        self._calibration = data.train.take(torch.from_numpy(chosen))

    def network(self, architecture: Architecture) -> Network:
        """The architecture as a plain network with its own weights and statistics, ready for use."""
        network = extract(self.supernet, architecture)
        calibrate(network, self._calibration_inputs())
        return network

    def _calibration_inputs(self) -> Iterator[Tensor]:
        device = next(self.supernet.parameters()).device
        for start in range(0, len(self._calibration), CALIBRATION_BATCH):
            yield self._calibration.inputs(slice(start, start + CALIBRATION_BATCH)).to(device)

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Validation accuracy or perplexity of the calibrated network, and every exact cost."""
        value = score(self.network(architecture), self.data.validation)
        metrics = {self.data.metric: value, **costs(self.supernet.space, architecture)}
        return Evaluation(architecture, metrics, {name: METRICS[name].source for name in metrics})
