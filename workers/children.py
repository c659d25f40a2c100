"""How a supervisor starts a runner: forked off its node's warm process where there is one, else cold."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import structlog

from service.lifeline import Child, open_private_log, tied_to_parent
from workers.warm import DOOR

log = structlog.get_logger()

RUNNER = "workers.runner"


def start(command: Sequence[str], output: Path) -> Child:
    """Start a child process that ends with this one.

    Args:
        command: to run, this Python's; a lone runner's is done by a fork of the warm process.
        output: what both of its streams are appended to.
    """
    is_runner = list(command[:3]) == [sys.executable, "-m", RUNNER]
    if is_runner and (forked := _fork(command, output)) is not None:
        return forked
    return start_cold(command, output)


def start_cold(command: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    """Start a process of its own, which imports everything itself."""
    with open_private_log(output) as file:
        return subprocess.Popen(
            command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, preexec_fn=tied_to_parent(signal.SIGKILL)
        )


def _fork(command: Sequence[str], output: Path) -> Forked | None:
    descriptor = os.environ.get(DOOR)
    if descriptor is None:
        say_cold("this worker has no warm process")
        return None
    line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with theirs, open_private_log(output) as file, socket.socket(fileno=os.dup(int(descriptor))) as door:
            socket.send_fds(door, [json.dumps(command[3:]).encode()], [theirs.fileno(), file.fileno()])
    except OSError as error:
        line.close()
        say_cold(f"the warm process does not answer: {error}")
        return None
    return Forked(line, command, output)


@cache
def say_cold(reason: str) -> None:
    """Log once why runners start cold."""
    log.info("runners start cold", reason=reason)


class Forked:
    """A child of the warm process, used as one of this process.

    It is asked for already; if the warm process ends before it has forked, the child is started cold.

    Args:
        line: where the warm process says what becomes of it.
    """

    def __init__(self, line: socket.socket, command: Sequence[str], output: Path) -> None:
        self._line, self._command, self._output = line, command, output
        self._started = False
        self._cold: subprocess.Popen[bytes] | None = None
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.

        Raises:
            subprocess.TimeoutExpired: it did not come in so many seconds.
        """
        while self.returncode is None:
            if self._cold is not None:
                self.returncode = self._cold.wait(timeout)
            elif select.select([self._line], [], [], timeout)[0]:
                self._listen()
            else:
                raise subprocess.TimeoutExpired(list(self._command), timeout or 0)
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL. What has not begun never begins."""
        self._send(signal.SIGKILL)
        if self._cold is None and not self._started:
            self._end(-signal.SIGKILL)

    def _listen(self) -> None:
        try:
            said = self._line.recv(64)
        except OSError:
            said = b""
        if said == b"started":
            self._started = True
        elif said:
            self._end(int(said))
        elif self._started:  # the warm process has died, and its children with it
            self._end(-signal.SIGTERM)
        else:
            log.warning("the warm process ended before it forked a runner; starting it cold")
            self._line.close()
            self._cold = start_cold(self._command, self._output)

    def _end(self, code: int) -> None:
        self.returncode = code
        self._line.close()

    def _send(self, number: signal.Signals) -> None:
        if self.returncode is not None:
            return
        if self._cold is not None:
            self._cold.send_signal(number)
            return
        try:
            self._line.send(str(int(number)).encode())
        except OSError:
            log.debug("no warm process to send a signal through", signal=number.name)
