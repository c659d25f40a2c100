"""Files of one job: on the disk first, then in the database, so that a recorded file is whole."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pipeline.artifacts import ArtifactStore, Written
from pipeline.reporter import Reporter
from service.store.models import Artifact


class JobFiles:
    """Writes, records, reads and removes a job's files."""

    def __init__(self, job_id: str, reporter: Reporter, store: ArtifactStore) -> None:
        self.job_id, self._reporter, self._store = job_id, reporter, store

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
        return self._store.save(path, tensors, metadata)

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
        return self._store.load(file.path, file.sha256)

    def remove(self, files: Sequence[Artifact], beside: Sequence[Artifact] = ()) -> None:
        """Drop rows, then files; a file that a row of `beside` names as well stays."""
        gone = {file.id for file in files}
        kept = {file.path for file in beside if file.id not in gone}
        unnamed = self._reporter.forget(list(gone))
        for path, sha256 in {file.path: file.sha256 for file in files if file.path not in kept}.items():
            self._store.remove(path, sha256 if sha256 in unnamed else None)
