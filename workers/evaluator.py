"""Evaluator: a trained supernet and its data, bound together to score architectures."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from predictors.cost import costs
from search.evaluation import Evaluation
from search.metrics import METRICS
from search_space.architecture import Architecture
from supernet.data import Dataset
from supernet.examiner import Examiner
from supernet.network import Network, Supernet
from supernet.prefixes import in_order
from supernet.randomness import derived_rng
from supernet.scores.exam import Exam
from supernet.scores.labels import SplitExam


class Evaluator:
    """Scores architectures by what they would be if they were shipped now: extracted and calibrated.

    Args:
        calibration_images: number of training images that re-estimate batch-norm statistics; the same
            images for every architecture.
        seed: decides which.
        exams: what networks are asked; null: the validation split.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Dataset,
        calibration_images: int,
        seed: int,
        exams: Sequence[Exam] | None = None,
    ) -> None:
        self.supernet, self.data = supernet, data
        chosen = derived_rng(seed, "calibration", 0).permutation(len(data.train))[:calibration_images]
        # Stored images, a sixteenth of the memory that ready inputs of colour images would take.
        calibration = data.train.take(torch.from_numpy(chosen).to(data.train.y.device))
        self._examiner = Examiner(supernet, exams or [SplitExam(data.validation)], calibration)

    def network(self, architecture: Architecture) -> Network:
        """The architecture as a plain network with its own weights and statistics, ready for use."""
        return self._examiner.network(architecture)

    def in_order(self, architectures: Sequence[Architecture]) -> list[Architecture]:
        """The same architectures, such that neighbours share the most computation."""
        return [architectures[index] for index in in_order(self.supernet, architectures)]

    def evaluate(self, architectures: Sequence[Architecture]) -> list[Evaluation]:
        """Validation scores of the calibrated networks, and every exact cost.

        The numbers do not depend on which architectures are evaluated together.
        """
        return [
            self._evaluation(architecture, scores)
            for architecture, scores in zip(architectures, self._examiner.examine(architectures), strict=True)
        ]

    def _evaluation(self, architecture: Architecture, scores: dict[str, float]) -> Evaluation:
        metrics = {**scores, **costs(self.supernet.space, architecture)}
        return Evaluation(architecture, metrics, {name: METRICS[name].source for name in metrics})
