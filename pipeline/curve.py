"""The training curve: losses, validation of three networks, speed and memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from job.spec import JobSpec
from pipeline.workshop import make_evaluator
from predictors.cost import macs
from search.metrics import METRICS
from search_space.architecture import Architecture
from search_space.space import SearchSpace
from service.store.records import CurvePoint
from supernet.data import Dataset
from supernet.randomness import derived_rng
from supernet.trainer import Trainer

# Points of the curve at which networks are validated.
VALIDATIONS = 10
# An epoch that takes longer than this is shown in parts.
POINT_SECONDS = 60.0
# Random networks of which the median is the one with the median MACs.
MEDIAN_OF = 31


class Curve:
    """Collects what steps report, and keeps a point once an epoch, or more often.

    Args:
        space: space of the networks that are trained.
        keep: records a point.
    """

    def __init__(
        self,
        spec: JobSpec,
        space: SearchSpace,
        data: Dataset,
        device: torch.device,
        keep: Callable[[CurvePoint], None],
    ) -> None:
        self._spec, self._data, self._device, self._keep = spec, data, device, keep
        self._sums: dict[str, list[float]] = {}
        self._every = max(1, spec.training.epochs // VALIDATIONS)
        self._began = time.monotonic()
        self._units_before = 0
        self._ends = {
            "smallest": space.smallest(),
            "median": median(space),
            "largest": space.largest(),
        }

    def add(self, trainer: Trainer, losses: Mapping[str, float]) -> dict[str, float] | None:
        """Count a step. At the end of an epoch in which networks were validated: their scores by name."""
        for name, value in losses.items():
            self._sums.setdefault(name, []).append(value)
        epoch, within = divmod(trainer.steps_done, trainer.steps_per_epoch)
        if within:
            if time.monotonic() - self._began > POINT_SECONDS:
                self._tell(trainer, round(trainer.steps_done / trainer.steps_per_epoch, 3), {})
            return None
        scores: dict[str, float] = {}
        speed = self._speed(trainer)
        if epoch % self._every == 0 or epoch == self._spec.training.epochs:
            scores = self._validate(trainer)
        self._tell(trainer, epoch, {f"{self._data.metric}_{name}": value for name, value in scores.items()}, speed)
        return scores or None

    def forget(self) -> None:
        """The training goes back to a checkpoint: what was collected since is not part of the curve."""
        self._sums, self._began = {}, time.monotonic()

    def _tell(
        self, trainer: Trainer, epoch: float, scores: Mapping[str, float], speed: Mapping[str, float] | None = None
    ) -> None:
        losses = {name: sum(values) / len(values) for name, values in self._sums.items()}
        shown = {**losses, **scores, **(speed or self._speed(trainer)), "memory_bytes": self._memory()}
        self._keep(CurvePoint(epoch=epoch, **shown))
        self._sums, self._began, self._units_before = {}, time.monotonic(), trainer.units_seen

    def _speed(self, trainer: Trainer) -> dict[str, float]:
        unit = "tokens" if self._data.train.stored.dim() == 2 else "images"
        seconds = max(time.monotonic() - self._began, 1e-9)
        return {f"{unit}_per_second": (trainer.units_seen - self._units_before) / seconds}

    def _memory(self) -> float:
        """Most bytes that were in use: of the GPU, or of the process where there is none."""
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self._device))
        return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def _validate(self, trainer: Trainer) -> dict[str, float]:
        evaluator = make_evaluator(self._spec, trainer.result, self._data)
        evaluations = evaluator.evaluate(list(self._ends.values()))
        return {name: e.metrics[self._data.metric] for name, e in zip(self._ends, evaluations, strict=True)}


def median(space: SearchSpace) -> Architecture:
    """The network with the median MACs of some random ones, the same for every training of a space."""
    rng = derived_rng(0, "median network", 0)
    drawn = [space.sample(rng) for _ in range(MEDIAN_OF)]
    return sorted(drawn, key=lambda architecture: (macs(space, architecture), architecture.id))[MEDIAN_OF // 2]


def fallen(metric: str, value: float, best: float) -> bool:
    """Whether the largest network's score is far below its best.

    Half of the best accuracy, or twice the perplexity: a supernet's scores swing by a few points from epoch to
    epoch, and one that has come apart scores like a guess.
    """
    if not np.isfinite(value):
        return True
    return value < 0.5 * best if METRICS[metric].goal == "maximize" else value > 2 * best


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Whether a score is the best so far."""
    if best is None:
        return True
    return value > best if METRICS[metric].goal == "maximize" else value < best
