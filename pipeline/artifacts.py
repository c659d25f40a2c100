"""Files of a job: written atomically, read back only if their digest agrees. safetensors and JSON only."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from export.bundle import sha256_of


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
    """A folder of files, named by paths relative to it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(self, path: str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Written:
        """Write tensors under a name: temporary file, fsync, rename, fsync of the folder.

        Args:
            metadata: texts that stand in the file's header.

        Raises:
            DiskFull: there is no room.
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
        return Written(path, digest, size)

    def load(self, path: str, sha256: str) -> dict[str, Tensor]:
        """Read tensors back.

        Raises:
            ArtifactDamaged: the file is missing or its digest is not the recorded one.
        """
        target = self.root / path
        if not target.is_file():
            raise ArtifactDamaged(f"{target} is missing.")
        if sha256_of(target) != sha256:
            raise ArtifactDamaged(f"{target} is not the file that was written: its sha256 differs.")
        return load_file(target)

    def metadata(self, path: str) -> dict[str, str]:
        """The texts of a file's header.

        Raises:
            ArtifactDamaged: the file is missing, or is none of ours.
        """
        target = self.root / path
        if not target.is_file():
            raise ArtifactDamaged(f"{target} is missing.")
        try:
            with safe_open(target, framework="pt") as file:
                return dict(file.metadata() or {})
        except SafetensorError as error:
            raise ArtifactDamaged(f"{target} is not the file that was written: {error}") from None

    def remove(self, path: str) -> None:
        """Delete a file that is no longer needed."""
        (self.root / path).unlink(missing_ok=True)

    def _full(self, path: str, tensors: dict[str, Tensor]) -> str:
        need = sum(value.numel() * value.element_size() for value in tensors.values())
        free = shutil.disk_usage(self.root).free
        return f"No room on the disk of {self.root} for {path}: it needs {need:,} bytes and {free:,} are free."


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of the file system or of safetensors says that there is no room."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return isinstance(error, SafetensorError) and "os error 28" in str(error).lower()
