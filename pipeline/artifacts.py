"""Files of a job: written atomically, read back only if their digest agrees. safetensors and JSON only."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from export.bundle import sha256_of
from export.tools import is_disk_full
from service.depot import Depot, depot_of
from service.settings import Settings


class DiskFull(Exception):
    """No room for a file. Nothing half-written is left, and earlier files are untouched."""


class ArtifactDamaged(Exception):
    """A recorded file is missing, or is not what was written."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is safely on the disk."""

    path: str
    sha256: str
    size_bytes: int


class ArtifactStore:
    """A folder of files, named by paths relative to it.

    Args:
        depot: where files are kept besides, and come from where the folder lacks them.
    """

    def __init__(self, root: Path, depot: Depot | None = None) -> None:
        self.root, self._depot = root, depot

    @classmethod
    def of(cls, settings: Settings) -> ArtifactStore:
        """The one of an installation.

        Raises:
            ValueError: the settings name a store that cannot be opened.
        """
        return cls(settings.artifacts_dir, depot_of(settings))

    def save(self, path: str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Written:
        """Write tensors under a name: temporary file, fsync, rename, fsync of the folder.

        Args:
            metadata: texts that stand in the file's header.

        Raises:
            DiskFull: there is no room.
            Unavailable: the depot does not answer.
        """
        target = self.root / path
        draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, draft, metadata)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            digest, size = sha256_of(draft), draft.stat().st_size
            draft.rename(target)
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except (OSError, SafetensorError) as error:
            draft.unlink(missing_ok=True)
            if is_disk_full(error):
                raise DiskFull(self._full(path, tensors)) from None
            raise
        self.keep(path, digest)
        return Written(path, digest, size)

    def keep(self, path: str, sha256: str) -> None:
        """Send a file of the folder to the depot, if there is one.

        Raises:
            Unavailable: it does not answer.
        """
        if self._depot is not None:
            self._depot.keep(path, sha256)

    def load(self, path: str, sha256: str) -> dict[str, Tensor]:
        """Read tensors back.

        Raises:
            ArtifactDamaged: the file is missing or its digest is not the recorded one.
            Unavailable: it is not in the folder, and the depot does not answer.
        """
        return load_file(self._whole(path, sha256))

    def metadata(self, path: str, sha256: str) -> dict[str, str]:
        """The texts of a file's header.

        Raises:
            ArtifactDamaged: the file is missing, or is none of ours.
            Unavailable: it is not in the folder, and the depot does not answer.
        """
        target = self._whole(path, sha256)
        try:
            with safe_open(target, framework="pt") as file:
                return dict(file.metadata() or {})
        except SafetensorError as error:
            raise ArtifactDamaged(f"{target} is not the file that was written: {error}") from None

    def remove(self, path: str, sha256: str | None = None) -> None:
        """Delete a file that is no longer needed.

        Args:
            sha256: its digest, if no row names the same content under another path: then it leaves the depot too.
        """
        (self.root / path).unlink(missing_ok=True)
        if self._depot is not None and sha256 is not None:
            self._depot.discard(sha256)

    def _whole(self, path: str, sha256: str) -> Path:
        """Where a file is, and it is what was written; fetched from the depot if the folder lacks it."""
        target = self.root / path
        if self._depot is not None and self._depot.bring(path, sha256):
            return target
        if not target.is_file():
            raise ArtifactDamaged(f"{target} is missing.")
        if sha256_of(target) != sha256:
            raise ArtifactDamaged(f"{target} is not the file that was written: its sha256 differs.")
        return target

    def _full(self, path: str, tensors: dict[str, Tensor]) -> str:
        need = sum(value.numel() * value.element_size() for value in tensors.values())
        free = shutil.disk_usage(self.root).free
        return f"No room on the disk of {self.root} for {path}: it needs {need:,} bytes and {free:,} are free."
