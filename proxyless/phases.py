"""Phases: the trainings of a job that has several, each resumed from checkpoints of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
import torch

from pipeline.checkpoints import Checkpoints
from pipeline.reporter import Interrupted
from pipeline.training import MOST_ROLLBACKS, ROLLBACK_RATE
from pipeline.workshop import JobFailed, Workshop
from proxyless.search import PathSearch
from service.store.models import JobState
from supernet.memory import is_out_of_memory
from supernet.trainer import NonFiniteLoss, Trainer

log = structlog.get_logger()


class Phase:
    """One training of a job, from its start or its newest checkpoint to its end.

    A loss that is not finite takes it back to its newest checkpoint at half the learning rate, a few times.

    Args:
        name: a short word that its checkpoints carry.
        title: for people.
        fresh: makes it as it is before the first step.
        after_step: hears what every step showed.
        progress: tells the job which share of the phase is done; may raise `Interrupted`.
    """

    def __init__(
        self,
        shop: Workshop,
        name: str,
        title: str,
        fresh: Callable[[], Trainer | PathSearch],
        after_step: Callable[[Trainer | PathSearch, Mapping[str, float]], None],
        progress: Callable[[float], None],
    ) -> None:
        self._shop, self._title, self._fresh = shop, title, fresh
        self._after_step, self._progress = after_step, progress
        self._checkpoints = Checkpoints(shop, name)

    def run(self) -> Trainer | PathSearch:
        """Run it to its end; call `forget` once its result is stored.

        Raises:
            Interrupted: the job is to be paused or cancelled; what was done is stored.
            JobFailed: it diverged too often, or its steps do not fit in memory.
        """
        training = self._fresh()
        checkpoint = self._checkpoints.restore_newest(training)
        if checkpoint is not None:
            self._shop.tell("info", f"Resumed {self._title} at step {checkpoint.step} of {training.num_steps}.")
        while training.steps_done < training.num_steps:
            training = self._step(training)
            try:
                self._progress(training.steps_done / training.num_steps)
            except Interrupted as interrupted:
                if interrupted.state == JobState.PAUSING:
                    self._checkpoints.save(training)
                raise
            self._checkpoints.save_if_due(training)
        return training

    def forget(self) -> None:
        """Remove the checkpoints: the result is stored."""
        self._checkpoints.remove_all()

    def _step(self, training: Trainer | PathSearch) -> Trainer | PathSearch:
        try:
            shown = training.step()
        except NonFiniteLoss as error:
            return self._rolled_back(training.rate_factor, str(error))
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise JobFailed(
                f"Out of memory in {self._title} on {self._shop.device}. Choose a smaller batch_size, more "
                "micro_batches, activation_checkpointing or bfloat16."
            ) from error
        self._after_step(training, shown)
        return training

    def _rolled_back(self, rate_factor: float, reason: str) -> Trainer | PathSearch:
        factor = rate_factor * ROLLBACK_RATE
        if factor < ROLLBACK_RATE**MOST_ROLLBACKS:
            raise JobFailed(
                f"{reason} In {self._title} the training diverged {MOST_ROLLBACKS + 1} times, although its learning "
                f"rate was halved {MOST_ROLLBACKS} times. Lower its learning_rate, or clip gradients (clip_norm)."
            )
        training = self._fresh()
        self._checkpoints.restore_newest(training)
        training.rate_factor = factor
        self._checkpoints.save(training)
        text = (
            f"{reason} {self._title.capitalize()} goes back to step {training.steps_done} with {factor:g} of its rate."
        )
        self._shop.tell("warning", text)
        log.warning("rolled back", phase=self._title, step=training.steps_done)
        return training
