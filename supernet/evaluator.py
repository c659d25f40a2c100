"""Evaluator: a trained supernet and its data, bound together to score architectures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from predictors.cost import costs
from search.evaluation import Evaluation
from search.metrics import METRICS
from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.augment import Augmentation
from supernet.data import Dataset
from supernet.data.dataset import Batch, Split
from supernet.examiner import Examiner
from supernet.label_gradient_alignment import label_gradient_alignment
from supernet.network import Network, Supernet
from supernet.options import AugmentationOptions
from supernet.prefixes import in_order
from supernet.randomness import derived_rng
from supernet.scores.exam import Exam, Scores
from supernet.scores.labels import SplitExam

# Examples whose gradients are compared, and the most classes they are of: four of each have something to align with.
ALIGNED_EXAMPLES, ALIGNED_CLASSES = 64, 16
# Of which purpose the draws of augmentation are.
CALIBRATION = "calibration"


class Evaluator:
    """Scores architectures by what they would be if they were shipped now: extracted and calibrated.

    Args:
        calibration_images: number of training images that re-estimate batch-norm statistics; the same
            images for every architecture.
        seed: decides which, and how they are augmented.
        exams: what networks are asked; null: the validation split.
        calibration: those images and perhaps more behind them, where they were chosen before (`calibration_examples`).
        augment: augmentation of the training: batch norms learned to work on such images (docs/decisions/0096).
        full: the supernet whose largest network others are compared with; None: this one.
        aligned: whether they also get their Label-Gradient Alignment, on labelled training examples.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Dataset,
        calibration_images: int,
        seed: int,
        exams: Sequence[Exam] | None = None,
        *,
        aligned: bool = False,
        calibration: Split | None = None,
        augment: AugmentationOptions | None = None,
        full: Supernet | None = None,
    ) -> None:
        self.supernet, self.data = supernet, data
        if calibration is None:
            calibration = calibration_examples(data, calibration_images, seed, augment)
        elif len(calibration) > calibration_images:
            calibration = calibration.take(torch.arange(calibration_images, device=calibration.y.device))
        images = Augmentation(calibration, augment or AugmentationOptions(), seed, CALIBRATION)
        self._labelled = _of_every_class(data.train, seed, supernet.device) if aligned else None
        self._examiner = Examiner(supernet, exams or [SplitExam(data.validation)], images, full)

    @property
    def space(self) -> SearchSpace:
        """Space of the architectures that are scored."""
        return self.supernet.space

    def network(self, architecture: Architecture, *, shares: bool = False) -> Network:
        """The architecture as a plain network with its own weights and statistics, ready for use.

        Args:
            shares: whether weights that it has whole are the supernet's own, of a network that is read and never
                trained.
        """
        return self._examiner.network(architecture, shares=shares)

    def scores(self, network: nn.Module) -> Scores:
        """Validation scores of one of these networks as it is, with intervals."""
        return self._examiner.scores(network)

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
        if (labelled := self._labelled) is not None:
            metrics["label_gradient_alignment"] = label_gradient_alignment(
                self.network(architecture), labelled.inputs, labelled.targets
            )
        return Evaluation(architecture, metrics, {name: METRICS[name].source for name in metrics})


def calibration_examples(data: Dataset, count: int, seed: int, augment: AugmentationOptions | None = None) -> Split:
    """The training examples that re-estimate batch-norm statistics, in their order: drawn by the seed.

    Args:
        augment: augmentation of the training; crops of whole pictures are cut here, because exports have no pictures.
    """
    chosen = derived_rng(seed, "calibration", 0).permutation(len(data.train))[:count]
    # Stored images, a sixteenth of the memory that ready inputs of colour images would take.
    some = data.train.take(torch.from_numpy(chosen).to(data.train.y.device))
    return Augmentation(some, augment or AugmentationOptions(), seed, CALIBRATION).cut()


def _of_every_class(split: Split, seed: int, device: torch.device) -> Batch:
    """As many examples of one class as of another, so that labels can be aligned with; drawn by the seed."""
    order = torch.from_numpy(derived_rng(seed, "alignment", 0).permutation(len(split))).to(split.y.device)
    labels = split.y[order]
    classes = labels.unique()[:ALIGNED_CLASSES]
    each = ALIGNED_EXAMPLES // len(classes)
    return split.batch(torch.cat([order[labels == label][:each] for label in classes]), device)
