"""Evaluator: a trained supernet and its data, bound together to score architectures."""

from __future__ import annotations

import torch
from torch import Tensor

from predictors.cost import costs
from search.evaluation import Evaluation
from search.metrics import METRICS
from search_space.architecture import Architecture
from supernet.calibrate import calibrate
from supernet.data import Dataset
from supernet.evaluate import accuracy
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
        images = data.train.x[chosen]
        self._calibration: list[Tensor] = list(torch.split(images, CALIBRATION_BATCH))

    def network(self, architecture: Architecture) -> Network:
        """The architecture as a plain network with its own weights and statistics, ready for use."""
        network = extract(self.supernet, architecture)
        calibrate(network, self._calibration)
        return network

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Validation accuracy of the calibrated network, and every exact cost."""
        score = accuracy(self.network(architecture), self.data.validation)
        metrics = {"accuracy": score, **costs(self.supernet.space, architecture)}
        return Evaluation(architecture, metrics, {name: METRICS[name].source for name in metrics})
