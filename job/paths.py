"""Which files a job may name: those below the folders that the installation opens, and nothing else.

A path is judged by its true place, with links followed. One that lies elsewhere is refused with the same words
whether or not there is something, so that refusals tell nothing about a machine. Below a root, hidden files and
folders (`~/.ssh`) are closed, and so is what the installation stores itself, unless a root names them.

The policy belongs to whoever reads a job: the API sets it for each request, a runner for its process. Without one,
as in a library or `winnow profile`, every file of the user is open, as it is to the user anyway.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plugins.kinds import ALGORITHMS
from plugins.options import Options, paths_of

if TYPE_CHECKING:
    from job.spec import JobSpec

# Entries of a folder that are looked at before a job may read it.
MAX_ENTRIES = 5_000_000


class PathRefused(ValueError):
    """A path that a job may not name."""


@dataclass(frozen=True, slots=True)
class PathPolicy:
    """What is open.

    Attributes:
        roots: folders below which everything is open.
        closed: folders that are not, unless a root lies within them.
        hub: whether names of the Hugging Face Hub are.
        uploads: a root of whose folders each belongs to somebody; together they are nobody's.
    """

    roots: tuple[Path, ...]
    closed: tuple[Path, ...] = ()
    hub: bool = False
    uploads: Path | None = None

    def check(self, text: str, field: str) -> Path:
        """The true place of a path.

        Raises:
            PathRefused: outside the roots, or a device, pipe or socket.
        """
        if "\0" in text:
            raise PathRefused(f"{field}: a path holds no NUL character.")
        try:
            asked = Path(text).expanduser()
            found = asked.resolve() if asked.is_absolute() else None
        except (OSError, RuntimeError, ValueError):
            found = None
        if found is None or not self.holds(found):
            raise PathRefused(self._refusal(text, field))
        _check_kind(found, text, field)
        return found

    def check_all(self, text: str, field: str) -> Path:
        """As `check`, and every file below the path as well: links that lead out, devices, pipes and sockets.

        Raises:
            PathRefused: for one of them, which is named by its place below the path.
        """
        found = self.check(text, field)
        if not found.is_dir():
            return found
        for number, entry in enumerate(_entries(found)):
            inside = os.path.relpath(entry.path, found)
            if number >= MAX_ENTRIES:
                raise PathRefused(f"{field}: {text!r} holds more than {MAX_ENTRIES:,} files and folders.")
            if entry.is_symlink():
                try:
                    target = Path(entry.path).resolve()
                except (OSError, RuntimeError):
                    target = Path("/")
                if not self.holds(target):
                    raise PathRefused(f"{field}: {inside!r} in {text!r} is a link that leads out of what is open.")
                _check_kind(target, inside, field)
            elif not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
                raise PathRefused(f"{field}: {inside!r} in {text!r} is neither a file nor a folder.")
        return found

    def holds(self, path: Path) -> bool:
        """Whether a path with all links followed is open."""
        if path == self.uploads:
            return False
        within = [root for root in self.roots if path.is_relative_to(root)]
        if not within:
            return False
        root = max(within, key=lambda one: len(one.parts))
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            return False
        return not any(path.is_relative_to(folder) and not root.is_relative_to(folder) for folder in self.closed)

    def upload_of(self, text: str) -> str | None:
        """The upload that a path lies in, by its folder's name; None for any other path."""
        try:
            path = Path(text).expanduser().resolve()
        except (OSError, RuntimeError, ValueError):
            return None
        inside = self.uploads is not None and path.is_relative_to(self.uploads) and path != self.uploads
        return path.relative_to(self.uploads).parts[0] if inside and self.uploads is not None else None

    def _refusal(self, text: str, field: str) -> str:
        if not self.roots:
            return (
                f"{field}: {text!r} cannot be read, because no folder is open to jobs. Name folders, separated by "
                "colons, in WINNOW_DATA_ROOTS of the API and the workers."
            )
        return (
            f"{field}: {text!r} is not an absolute path below a folder that is open to jobs (WINNOW_DATA_ROOTS; hidden "
            "folders are closed). Move it there, or ask who runs this installation."
        )


POLICY: ContextVar[PathPolicy | None] = ContextVar("path policy", default=None)


def check_checkpoint(text: str) -> None:
    """See to it that a checkpoint may be read, before anything of it is.

    Raises:
        PathRefused: by the policy of whoever reads the job.
    """
    policy = POLICY.get()
    if policy is not None:
        policy.check_all(text, "supernet.pretrained")


def check_paths(spec: JobSpec, *, whole: bool = False) -> None:
    """See to it that a job names only what it may.

    Args:
        whole: look at every file below its folders as well, as those do who are about to read them.

    Raises:
        PathRefused: with the field.
    """
    policy = POLICY.get()
    if policy is None:
        return
    for field, text, may_be_name in named_paths(spec):
        if may_be_name and not text.startswith(("/", "~")):
            if not policy.hub:
                raise PathRefused(
                    f"{field}: {text!r} is no absolute path, and names of the Hugging Face Hub are closed here. Give "
                    "the path of a folder, or set WINNOW_HUB=on for the API and the workers."
                )
            continue
        (policy.check_all if whole else policy.check)(text, field)


def named_uploads(spec: JobSpec) -> set[str]:
    """Ids of the uploads that a job names."""
    policy = POLICY.get()
    found = {policy.upload_of(text) for _, text, _ in named_paths(spec)} if policy is not None else set()
    return {upload_id for upload_id in found if upload_id is not None}


def named_paths(spec: JobSpec) -> Iterator[tuple[str, str, bool]]:
    """Every path of a job: its field, the path, and whether it may be a name of the Hub instead."""
    for folder in spec.supernet.folders:
        yield "supernet.pretrained", folder, False
    for part, options in _plugged_in(spec):
        for name, text, or_hub in paths_of(options):
            yield f"{part}.{name}", text, or_hub
    for task in spec.scoring.tasks:
        # Task files of the harness are looked up in WINNOW_TASKS_DIR, by the worker, and nowhere else.
        if not task.of_harness:
            yield f"scoring.tasks {task.name}", task.path, False
    for target in spec.gradient.targets if spec.gradient is not None else ():
        if target.startswith("/"):
            yield "gradient.targets", target, False


def _plugged_in(spec: JobSpec) -> Iterator[tuple[str, Options]]:
    """Every record of options that a plug-in declares, which may be somebody else's, and where it stands."""
    yield "data", spec.data
    yield "training.options", spec.training.method_options
    if spec.healing is not None and spec.healing.data is not None:
        yield "healing.data", spec.healing.data
    if spec.gradient is not None:
        yield "gradient.final.options", spec.gradient.final.method_options
    if spec.search.algorithm in ALGORITHMS.names():
        declared: type[Options] = ALGORITHMS.options(spec.search.algorithm).OPTIONS
        yield "search.options", declared.model_validate(spec.search.options)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder, without following links."""
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                yield entry


def _check_kind(path: Path, text: str, field: str) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # nothing is there, or not on this machine: whoever reads it says so
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise PathRefused(f"{field}: {text!r} is neither a file nor a folder.")
