"""Checkpoints of a training: the newest few and the best, each written whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from pipeline.artifacts import ArtifactDamaged
from pipeline.job_files import JobFiles
from pipeline.reporter import Tell
from service.settings import Settings
from service.store.models import Artifact

NEWEST, BEST = "checkpoint", "best checkpoint"


class Resumable(Protocol):
    """What can be saved between two steps and continued exactly: a `Trainer`, or what works like one."""

    @property
    def steps_done(self) -> int:
        """Steps done."""

    def tensors(self) -> dict[str, Tensor]:
        """Its state besides `steps_done`."""

    def restore(self, tensors: dict[str, Tensor], steps_done: int) -> None:
        """Continue from what `tensors` gave after so many steps."""


class Checkpoints:
    """Saves a training now and then, keeps the newest few and the best, and goes back to them.

    Args:
        files: files of the job.
        settings: how often, and how many are kept.
        tell: hears of a file that is damaged.
        phase: short word that keeps the files of several trainings of one job apart.
    """

    def __init__(self, files: JobFiles, settings: Settings, tell: Tell, phase: str = "") -> None:
        self._files, self._settings, self._tell = files, settings, tell
        self._newest, self._best = (f"{kind} {phase}".strip() for kind in (NEWEST, BEST))
        self._prefix = f"{phase}-" if phase else ""
        self._saved_at = time.monotonic()

    def save_if_due(self, trainer: Resumable) -> None:
        """Save if the last one is old enough."""
        if time.monotonic() - self._saved_at >= self._settings.checkpoint_seconds:
            self.save(trainer)

    def save(self, trainer: Resumable) -> None:
        """Save now; older ones go."""
        self._write(self._newest, trainer)
        self._saved_at = time.monotonic()
        self._remove(self._files.recorded(self._newest)[self._settings.keep_checkpoints :])

    def save_best(self, trainer: Resumable) -> None:
        """Save as the best; the one before it goes."""
        before = self._files.recorded(self._best)
        self._write(self._best, trainer)
        self._remove(before)

    def restore_newest(self, trainer: Resumable) -> Artifact | None:
        """Go to the newest checkpoint that is whole; a damaged one is reported and skipped."""
        return self._restore(trainer, self._files.recorded(self._newest))

    def restore_good(self, trainer: Resumable) -> Artifact | None:
        """Go to the best checkpoint, else to the newest; None if there is neither."""
        return self._restore(trainer, [*self._files.recorded(self._best), *self._files.recorded(self._newest)])

    def remove_newest(self) -> None:
        """Drop all but the best: what came after it has gone astray."""
        self._remove(self._files.recorded(self._newest))

    def remove_all(self) -> None:
        """The training is done."""
        self._remove([*self._files.recorded(self._newest), *self._files.recorded(self._best)])

    def _write(self, kind: str, trainer: Resumable) -> None:
        prefix = self._prefix + ("best-" if kind == self._best else "")
        path = f"checkpoints/{self._files.job_id}/{prefix}{trainer.steps_done}.safetensors"
        self._files.save(kind, path, trainer.tensors(), trainer.steps_done)

    def _restore(self, trainer: Resumable, candidates: Sequence[Artifact]) -> Artifact | None:
        for checkpoint in candidates:
            try:
                tensors = self._files.load(checkpoint)
            except ArtifactDamaged as error:
                self._tell("warning", f"Checkpoint skipped: {error}")
                continue
            trainer.restore(tensors, checkpoint.step)
            return checkpoint
        return None

    def _remove(self, old: Sequence[Artifact]) -> None:
        # The same step may have been saved twice under one name.
        self._files.remove(old, beside=[*self._files.recorded(self._newest), *self._files.recorded(self._best)])
