"""Files of one job, checkpoints of its trainings among them: on the disk first, then in the database, so that a
recorded file is whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from pipeline.artifacts import ArtifactDamaged, ArtifactStore, Written
from pipeline.reporter import Reporter, Tell
from service.settings import Settings
from service.store.models import Artifact

NEWEST, BEST = "checkpoint", "best checkpoint"


class JobFiles:
    """Writes, records, reads and removes a job's files.

    Args:
        settings: how often checkpoints are written, and how many are kept.
    """

    def __init__(self, job_id: str, reporter: Reporter, store: ArtifactStore, settings: Settings) -> None:
        self.job_id, self._reporter, self.store, self._settings = job_id, reporter, store, settings

    def save(
        self, kind: str, path: str, tensors: dict[str, Tensor], step: int, metadata: dict[str, str] | None = None
    ) -> None:
        """Write a file and record it.

        Args:
            metadata: texts that stand in the file's header.

        Raises:
            DiskFull: there is no room; nothing is recorded.
        """
        self.record(kind, step, self.write(path, tensors, metadata))

    def write(self, path: str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Written:
        """Write a file that is recorded later."""
        return self.store.save(path, tensors, metadata)

    def record(self, kind: str, step: int, written: Written) -> None:
        """Say in the database that a file is safely on the disk."""
        facts = {"path": written.path, "sha256": written.sha256, "size_bytes": written.size_bytes}
        self._reporter.artifact(lambda: Artifact(job_id=self.job_id, kind=kind, step=step, **facts))

    def recorded(self, kind: str) -> Sequence[Artifact]:
        """Those of a kind, newest first."""
        return self._reporter.artifacts(kind)

    def load(self, file: Artifact) -> dict[str, Tensor]:
        """Read a file back.

        Raises:
            ArtifactDamaged: it is missing, or is not what was written.
        """
        return self.store.load(file.path, file.sha256)

    def remove(self, files: Sequence[Artifact], beside: Sequence[Artifact] = ()) -> None:
        """Drop rows, then files; a file that a row of `beside` names as well stays."""
        gone = {file.id for file in files}
        kept = {file.path for file in beside if file.id not in gone}
        unnamed = self._reporter.forget(list(gone))
        for path, sha256 in {file.path: file.sha256 for file in files if file.path not in kept}.items():
            self.store.remove(path, sha256 if sha256 in unnamed else None)

    def checkpoints(self, phase: str = "") -> Checkpoints:
        """Checkpoints of one of the job's trainings; a short word keeps those of several apart."""
        return Checkpoints(self, self._settings, self._reporter.tell, phase)


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
