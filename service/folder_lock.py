"""One data folder has one `winnow up`: who holds it, and what its parts do."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

LOCK_FILE, STATE_FILE = "up.lock", "up.json"
# Whoever was killed is cleaned up after within this time.
CLEAN_UP_SECONDS = 60.0


class FolderTaken(Exception):
    """Somebody else serves the folder; the message says who."""


@dataclass(frozen=True, slots=True)
class Part:
    """A process that `winnow up` looks after.

    Attributes:
        state: `running`, or `restarting` after it has ended.
        restarts: since `winnow up` began.
        reason: how it ended last.
    """

    name: str
    state: str
    pid: int | None
    restarts: int
    reason: str | None

    @property
    def trouble(self) -> str | None:
        """What people should hear of it; None while it runs."""
        if self.state == "running":
            return None
        return (
            f"The part {self.name} of `winnow up` ended ({self.reason}) and is started again ({self.restarts} so far)."
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """Who serves a folder."""

    pid: int
    url: str
    began: str
    parts: tuple[Part, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether its process is there."""
        return is_alive(self.pid)


class FolderLock:
    """The right to serve a folder, for as long as this process or one that inherited it lives.

    Raises:
        FolderTaken: another process has it.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url
        self._began = datetime.now(UTC).isoformat(timespec="seconds")
        folder.mkdir(parents=True, exist_ok=True)
        self._file = _held(folder)
        self.say(())

    @property
    def descriptor(self) -> int:
        """What a process inherits that is to hold the folder as well."""
        return self._file.fileno()

    def say(self, parts: tuple[Part, ...]) -> None:
        """Tell others who serves the folder, and what its parts do."""
        write_state(self._folder, Holder(os.getpid(), self._url, self._began, parts))

    def release(self) -> None:
        """Let others serve it."""
        with suppress(FileNotFoundError):
            (self._folder / STATE_FILE).unlink()
        self._file.close()


def _held(folder: Path) -> IO[bytes]:
    """The lock's file, locked.

    Raises:
        FolderTaken: by a living process, or by one that cleans up for too long.
    """
    file = os.fdopen(os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    deadline = time.monotonic() + CLEAN_UP_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            holder = read_state(folder)
            if (holder is not None and holder.is_alive) or time.monotonic() > deadline:
                file.close()
                who = "another process" if holder is None else f"process {holder.pid} at {holder.url}"
                since = "" if holder is None else f", since {holder.began}"
                raise FolderTaken(
                    f"{folder} is served by {who}{since}. Stop that one, or set WINNOW_DATA_DIR to another folder."
                ) from None
            time.sleep(0.2)  # it was killed, and what it had started is being stopped


def write_state(folder: Path, holder: Holder) -> None:
    """Write who serves a folder, whole or not at all."""
    draft = folder / f".{STATE_FILE}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(holder)))
    draft.chmod(0o600)
    draft.replace(folder / STATE_FILE)


def read_state(folder: Path) -> Holder | None:
    """Who serves a folder, or did when it was killed; None if nobody says so."""
    try:
        said = json.loads((folder / STATE_FILE).read_text())
        parts = tuple(Part(**part) for part in said.pop("parts"))
        return Holder(**said, parts=parts)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def troubles(folder: Path) -> list[str]:
    """What people should hear of the parts of the `winnow up` that serves a folder."""
    holder = read_state(folder)
    if holder is None or not holder.is_alive:
        return []
    return [trouble for part in holder.parts if (trouble := part.trouble) is not None]


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number, which is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True
