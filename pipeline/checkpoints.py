"""Checkpoints of a training: the newest few and the best, each written whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from pipeline.artifacts import ArtifactDamaged
from pipeline.workshop import Workshop
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
        phase: of a job that has several trainings, a word of few letters; their files do not meet.
    """

    def __init__(self, shop: Workshop, phase: str = "") -> None:
        self._shop = shop
        self._newest, self._best = (f"{kind} {phase}".strip() for kind in (NEWEST, BEST))
        self._prefix = f"{phase}-" if phase else ""
        self._saved_at = time.monotonic()

    def save_if_due(self, trainer: Resumable) -> None:
        """Save if the last one is old enough."""
        if time.monotonic() - self._saved_at >= self._shop.settings.checkpoint_seconds:
            self.save(trainer)

    def save(self, trainer: Resumable) -> None:
        """Save now; older ones go."""
        self._write(self._newest, trainer)
        self._saved_at = time.monotonic()
        self._remove(self._shop.reporter.artifacts(self._newest)[self._shop.settings.keep_checkpoints :])

    def save_best(self, trainer: Resumable) -> None:
        """Save as the best; the one before it goes."""
        before = self._shop.reporter.artifacts(self._best)
        self._write(self._best, trainer)
        self._remove(before)

    def restore_newest(self, trainer: Resumable) -> Artifact | None:
        """Go to the newest checkpoint that is whole; a damaged one is reported and skipped."""
        return self._restore(trainer, self._shop.reporter.artifacts(self._newest))

    def restore_good(self, trainer: Resumable) -> Artifact | None:
        """Go to the best checkpoint, else to the newest; None if there is neither."""
        return self._restore(
            trainer, [*self._shop.reporter.artifacts(self._best), *self._shop.reporter.artifacts(self._newest)]
        )

    def remove_newest(self) -> None:
        """Drop all but the best: what came after it has gone astray."""
        self._remove(self._shop.reporter.artifacts(self._newest))

    def remove_all(self) -> None:
        """The training is done."""
        self._remove([*self._shop.reporter.artifacts(self._newest), *self._shop.reporter.artifacts(self._best)])

    def _write(self, kind: str, trainer: Resumable) -> None:
        prefix = self._prefix + ("best-" if kind == self._best else "")
        path = f"checkpoints/{self._shop.job_id}/{prefix}{trainer.steps_done}.safetensors"
        written = self._shop.artifacts.save(path, trainer.tensors())
        self._shop.record(kind, trainer.steps_done, written)

    def _restore(self, trainer: Resumable, candidates: Sequence[Artifact]) -> Artifact | None:
        for checkpoint in candidates:
            try:
                tensors = self._shop.artifacts.load(checkpoint.path, checkpoint.sha256)
            except ArtifactDamaged as error:
                self._shop.tell("warning", f"Checkpoint skipped: {error}")
                continue
            trainer.restore(tensors, checkpoint.step)
            return checkpoint
        return None

    def _remove(self, old: Sequence[Artifact]) -> None:
        gone = {artifact.id for artifact in old}
        rows = [*self._shop.reporter.artifacts(self._newest), *self._shop.reporter.artifacts(self._best)]
        # The same step may have been saved twice under one name.
        kept = {artifact.path for artifact in rows if artifact.id not in gone}
        self._shop.reporter.forget(list(gone))
        for path in {artifact.path for artifact in old} - kept:
            self._shop.artifacts.remove(path)
