"""The one driver of trainings: of a supernet, of a network alone, and of a search by gradient.

It resumes, steps, saves checkpoints when they are due, goes back where a training diverges, makes room where a step
does not fit in memory, tells how far it is, and ends. What differs between trainings is given to it: a `Judge` says
whether a training has gone astray although its losses are finite, `Room` what to do about memory, `Words` how people
hear of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import structlog
import torch

from pipeline.checkpoints import Checkpoints, Resumable
from pipeline.reporter import Interrupted, Tell
from pipeline.workshop import JobFailed
from service.store.models import JobState
from supernet.distributed import Orders
from supernet.memory import OutOfMemory, is_out_of_memory
from supernet.trainer import NonFiniteLoss

log = structlog.get_logger()

# How often a training that diverges is taken back before the job fails, and what its rate is then scaled by.
MOST_ROLLBACKS = 3
ROLLBACK_RATE = 0.5


class Steps(Resumable, Protocol):
    """What can be driven: a `Trainer`, or a search that works like one.

    Attributes:
        rate_factor: scales the learning rate of the weights.
        micro_batches: into which a batch is cut.
    """

    rate_factor: float
    micro_batches: int

    @property
    def num_steps(self) -> int:
        """Steps in all."""

    def step(self) -> dict[str, float]:
        """Do the next step; what to show of it.

        Raises:
            NonFiniteLoss, OutOfMemory: the step was not applied.
        """


T = TypeVar("T", bound=Steps)
T_contra = TypeVar("T_contra", bound=Steps, contravariant=True)
Taken = TypeVar("Taken")
Stored = TypeVar("Stored")


class Judge(Protocol[T_contra]):
    """Hears what every step showed, and says where a training has gone astray."""

    def seen(self, training: T_contra, shown: Mapping[str, float], checkpoints: Checkpoints) -> str | None:
        """Count a step; a reason to go back, or None."""

    def forget(self) -> None:
        """The training went back: what was collected since the checkpoint is not part of it."""


class Room(Protocol[T_contra]):
    """What is done where a step does not fit in memory."""

    def make(self, training: T_contra) -> None:
        """Make room, so that the step can be tried again.

        Raises:
            JobFailed: there is none; says what would fit.
        """

    def refusal(self) -> str:
        """Why the job fails where processes cannot go on together."""


@dataclass(frozen=True, slots=True)
class NoRoom:
    """A training that does not fit fails.

    Attributes:
        title: title of the training, for people.
    """

    title: str
    device: torch.device

    def make(self, _training: Steps) -> None:
        """Refuse.

        Raises:
            JobFailed: always.
        """
        raise JobFailed(self.refusal())

    def refusal(self) -> str:
        """What to change."""
        return (
            f"Out of memory in {self.title} on {self.device}. Choose a smaller batch_size, more micro_batches, "
            "activation_checkpointing or bfloat16."
        )


@dataclass(frozen=True, slots=True)
class Words:
    """How people hear of a training.

    Attributes:
        title: empty for the one training of a job.
        advice: what to do about one that diverges.
    """

    title: str
    advice: str

    def resumed(self, training: Steps) -> str:
        """It goes on from a checkpoint."""
        what = f"Resumed {self.title}" if self.title else "Resumed"
        return f"{what} at step {training.steps_done} of {training.num_steps}."

    def went_back(self, training: Steps) -> str:
        """It diverged and went back."""
        step, rate = training.steps_done, f"{training.rate_factor:g}"
        if self.title:
            return f"{self.title.capitalize()} goes back to step {step} with {rate} of its rate."
        return f"Back to step {step} with {rate} of the learning rate."

    def diverged(self) -> str:
        """It diverged too often."""
        what = f"In {self.title} the training" if self.title else "The training"
        return (
            f"{what} diverged {MOST_ROLLBACKS + 1} times, although its learning rate was halved {MOST_ROLLBACKS} "
            f"times. {self.advice}"
        )


def ignored(_done: float) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class Course(Generic[T]):
    """A training, and what is special about it.

    Attributes:
        fresh: makes it as it is before the first step.
        progress: hears the share that is done after every step; may raise `Interrupted`.
        orders: for the other processes of the training.
        begin: hears the share that is done when it begins or goes on.
    """

    fresh: Callable[[], T]
    judge: Judge[T]
    room: Room[T]
    words: Words
    orders: Orders
    progress: Callable[[float], None]
    begin: Callable[[float], None] = field(default=ignored)


class Driver(Generic[T]):
    """Runs one training, from its start or its newest checkpoint to its end.

    Args:
        tell: hears messages for the user.
    """

    def __init__(self, course: Course[T], checkpoints: Checkpoints, tell: Tell) -> None:
        self._course, self._checkpoints, self._tell = course, checkpoints, tell
        self._orders = course.orders
        self._training = course.fresh()

    def run(self, take: Callable[[T], Taken], store: Callable[[Taken, int], Stored]) -> Stored:
        """What `store` makes of the training's result.

        Args:
            take: gets the result while the other processes still listen.
            store: keeps it, given the number of steps; the checkpoints go when that is done.

        Raises:
            Interrupted: the job is to be paused or cancelled; what was done is stored.
            JobFailed: it diverged too often, or its steps do not fit in memory.
        """
        taken = self._driven(None, take)
        stored = store(taken, self._training.steps_done)
        self._checkpoints.remove_all()
        return stored

    def run_to(self, step: int, take: Callable[[T], Taken]) -> Taken:
        """Go on up to a step, or to the end if that comes first, and keep the training there for a later run.

        Args:
            take: gets the training as it then is.

        Raises:
            Interrupted, JobFailed: as `run`.
        """
        return self._driven(step, take)

    def _driven(self, until: int | None, take: Callable[[T], Taken]) -> Taken:
        course = self._course
        self._resume()
        course.begin(self._done)
        try:
            while self._training.steps_done < min(until or self._training.num_steps, self._training.num_steps):
                self._step()
                try:
                    course.progress(self._done)
                except Interrupted as interrupted:
                    if interrupted.state == JobState.PAUSING:
                        self._checkpoints.save(self._training)
                    raise
                self._checkpoints.save_if_due(self._training)
            if until is not None:
                self._checkpoints.save(self._training)
            return take(self._training)
        finally:
            self._orders.stop()

    @property
    def _done(self) -> float:
        return self._training.steps_done / self._training.num_steps

    def _resume(self) -> None:
        checkpoint = self._checkpoints.restore_newest(self._training)
        if checkpoint is not None:
            self._orders.restore(checkpoint.id)
            self._tell("info", self._course.words.resumed(self._training))

    def _step(self) -> None:
        """One step, and what may go wrong in it."""
        try:
            self._orders.step()
            shown = self._training.step()
            structlog.contextvars.bind_contextvars(step=self._training.steps_done)
        except NonFiniteLoss as error:
            self._go_back(str(error))
            return
        except OutOfMemory:
            self._course.room.make(self._training)
            return
        except RuntimeError as error:
            if is_out_of_memory(error):  # of a sharded training, whose processes cannot go on together
                self._orders.abandon()
                raise JobFailed(self._course.room.refusal()) from error
            raise
        reason = self._course.judge.seen(self._training, shown, self._checkpoints)
        if reason is not None:
            self._go_back(reason)

    def _go_back(self, reason: str) -> None:
        """Go back to the last good checkpoint, or to the start, at half the learning rate."""
        factor = self._training.rate_factor * ROLLBACK_RATE
        if factor < ROLLBACK_RATE**MOST_ROLLBACKS:
            raise JobFailed(f"{reason} {self._course.words.diverged()}")
        micro_batches = self._training.micro_batches
        checkpoint = self._checkpoints.restore_good(self._training)
        self._orders.restore(0 if checkpoint is None else checkpoint.id, factor)
        self._orders.cut(micro_batches)
        if checkpoint is None:
            self._training = self._course.fresh()
        self._training.rate_factor, self._training.micro_batches = factor, micro_batches
        self._course.judge.forget()
        # Checkpoints after the good one have gone astray; the next resume must find this one, with its rate.
        self._checkpoints.remove_newest()
        self._checkpoints.save(self._training)
        self._tell("warning", f"{reason} {self._course.words.went_back(self._training)}")
        log.warning("rolled back", training=self._course.words.title, step=self._training.steps_done, reason=reason)
