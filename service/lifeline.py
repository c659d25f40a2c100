"""The lifeline between a process and its parent: no orphan works on (Linux; elsewhere leases do it)."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

# prctl(2): the signal that a process gets when its parent dies. It survives exec.
PR_SET_PDEATHSIG = 1

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def tied_to_parent(number: int = signal.SIGTERM) -> Callable[[], None]:
    """A `preexec_fn` for a child that is to get this signal when the calling process dies."""
    parent = os.getpid()

    def tie() -> None:
        if _LIBC is not None:
            _LIBC.prctl(PR_SET_PDEATHSIG, number)
            if os.getppid() != parent:  # it died in between
                os._exit(1)

    return tie


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Let this process get a signal when its parent dies: for children of launchers that do not see to it."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, number)


class Child(Protocol):
    """What is asked of a child process, as `subprocess.Popen` answers it."""

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; `subprocess.TimeoutExpired` where it does not come in so many seconds."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


def open_private_log(path: Path) -> BinaryIO:
    """A log to append to, which only its user may read; an older one that others may read is closed to them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")
    os.fchmod(file.fileno(), 0o600)
    return file


def stop(child: Child, grace_seconds: float) -> None:
    """SIGTERM, a moment of grace, SIGKILL. Does nothing to a child that has ended."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
