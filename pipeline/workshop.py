"""Workshop: what every stage of a job needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from job.spec import JobSpec
from pipeline.artifacts import ArtifactStore
from pipeline.checkpoints import JobFiles
from pipeline.reporter import Reporter
from quantization.quantized_evaluator import QuantizedEvaluator
from quantization.quantized_space import QuantizedSpace
from search_space.space import SearchSpace
from service.settings import Settings
from supernet.calibrate import DELIVERED_IMAGES
from supernet.data import Dataset, Split
from supernet.distributed import ALONE, Group
from supernet.evaluator import Evaluator
from supernet.network import Supernet
from supernet.options import AugmentationOptions
from supernet.scores.exam import Exam


class JobFailed(Exception):
    """The job cannot be done; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every stage needs.

    Attributes:
        space: space of the supernet's networks.
        group: the processes of the training; this one reports for all.
    """

    job_id: str
    spec: JobSpec
    space: SearchSpace
    reporter: Reporter
    artifacts: ArtifactStore
    settings: Settings
    device: torch.device
    group: Group = ALONE

    @property
    def searched(self) -> SearchSpace:
        """What is searched: the supernet's networks, with their quantization policies if those are searched."""
        return self.space if self.spec.quantization is None else self.spec.space()

    @property
    def files(self) -> JobFiles:
        """The job's files."""
        return JobFiles(self.job_id, self.reporter, self.artifacts, self.settings)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """On what networks are calibrated, where that was chosen before.

    Attributes:
        images: examples that batch norms are calibrated on; None: chosen now.
        activations: examples that ranges of activations are taken from; None: chosen now.
        plainly: whether the images are taken as they are, as jobs of older versions did.
    """

    images: Split | None
    activations: Split | None
    plainly: bool = False


def images_of(spec: JobSpec, *, delivered: bool) -> int:
    """Training images that batch norms are calibrated on.

    Args:
        delivered: whether networks are delivered: finalists and their exports. A search spends less on each.
    """
    return max(spec.search.calibration_images, DELIVERED_IMAGES if delivered else 0)


def make_evaluator(
    spec: JobSpec,
    supernet: Supernet,
    data: Dataset,
    exams: Sequence[Exam] | None = None,
    calibrated: Calibrated | None = None,
    *,
    delivered: bool = False,
    full: Supernet | None = None,
) -> Evaluator:
    """The evaluator of a job; the same in its search and in later exports.

    Args:
        exams: what its networks are asked; null: the validation split alone, which quantized networks always are.
        calibrated: what networks are calibrated on; null: chosen from the data.
        delivered: whether its networks are those that are delivered (see `images_of`).
        full: whose largest network others are compared with; None: the supernet's own.
    """
    ready = calibrated or Calibrated(None, None)
    chosen = images_of(spec, delivered=delivered), spec.training.seed
    augment = AugmentationOptions() if ready.plainly else spec.training.augmentation
    if spec.quantization is not None:
        space = spec.space()
        assert isinstance(space, QuantizedSpace)
        return QuantizedEvaluator(
            supernet,
            data,
            *chosen,
            space,
            observer=spec.quantization.observer,
            calibration_examples=spec.quantization.calibration_examples,
            calibration=ready.images,
            augment=augment,
            activations=ready.activations,
        )
    aligned = "label_gradient_alignment" in spec.metrics and calibrated is None
    return Evaluator(
        supernet, data, *chosen, exams, aligned=aligned, calibration=ready.images, augment=augment, full=full
    )
