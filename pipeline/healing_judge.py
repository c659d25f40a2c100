"""What judges a network that heals: its score on validation examples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from job.healing_spec import HealingSpec
from pipeline.checkpoints import Checkpoints
from pipeline.curve import is_better
from service.store.records import HealingPlan, HealingPoint
from supernet.healing import HealingTrainer
from supernet.network import Supernet


class BestOfValidations:
    """Judges a network that heals by its validation score, saves the best, and ends where it gets no better."""

    def __init__(
        self,
        part: HealingSpec,
        plan: HealingPlan,
        metric: str,
        score: Callable[[Supernet], float],
        keep: Callable[[HealingPoint], None],
    ) -> None:
        self._patience, self._plan, self._metric = part.patience, plan, metric
        self._score, self._keep = score, keep
        self._every = max(1, plan.steps // part.validations)
        self._sums: dict[str, list[float]] = {}
        self._at = time.monotonic()

    def seen(self, training: HealingTrainer, shown: Mapping[str, float], checkpoints: Checkpoints) -> str | None:
        """Count a step; a reason to go back where the score is no number."""
        for name, value in shown.items():
            self._sums.setdefault(name, []).append(value)
        step = training.steps_done
        if step % self._every and step < self._plan.steps:
            self._count(training)
            return None
        score = self._score(training.supernet)
        self._count(training)
        means = {name: sum(values) / len(values) for name, values in self._sums.items()}
        self._sums = {}
        self._keep(
            HealingPoint(architecture_id=self._plan.architecture_id, step=step, **means, **{self._metric: score})
        )
        if not math.isfinite(score):
            return f"The {self._metric} after step {step} is no number."
        if is_better(self._metric, score, training.best_score):
            training.best_score, training.best_step = score, step
            checkpoints.save_best(training)
        elif self._patience is not None and step - training.best_step >= self._patience * self._every:
            training.num_steps = step
        return None

    def forget(self) -> None:
        """The training went back."""
        self._sums = {}

    def _count(self, training: HealingTrainer) -> None:
        now = time.monotonic()
        training.seconds, self._at = training.seconds + now - self._at, now
