"""The warm process of a worker node: it has imported what runners need, and forks one off for each that is asked for.

Imports are most of what a short job costs. The node starts one `python -m workers.warm FD ROOM` for all of its slots;
a supervisor asks through the door, a socket that its slot has inherited. With each request it gives a line of its own,
on which it hears what becomes of the child and says which signals it is to get (workers/children.py).

A fork is safe only of a process that has one thread and has not touched a GPU. It proves both on a trial child before
it serves, and refuses otherwise (docs/decisions/0084-runners-are-forked.md).
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from service.lifeline import tied_to_parent
from workers.logs import configure_logging

log = structlog.get_logger()

# What runners import at once or sooner or later, and what makes no thread or loses it when it forks (numpy's
# OpenBLAS). onnxruntime keeps its thread; the compiler is imported by the first step of any optimizer of torch.
IMPORTS = ("workers.runner", "torch._dynamo", "sklearn.linear_model", "sklearn.model_selection", "sklearn.svm")
# Read by libraries while they are imported: no thread that cleans memory up, no question to the GPU's driver.
QUIET = {"JE_ARROW_MALLOC_CONF": "background_thread:false", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
# The exit code that says: I cannot serve here, do not start me again.
UNFIT = 2
REQUEST_BYTES = 65536
# The last argument keeps room in the command line, where a child writes what it does.
ROOM = "." * 120
DOOR = "WINNOW_WARM_DOOR"


class Unfit(Exception):
    """This process cannot be forked safely; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """A runner that is asked for: its arguments, the line to who asks, and the descriptor of its log."""

    arguments: tuple[str, ...]
    line: socket.socket
    output: int


class Warm:
    """Forks runners off this process until the door is shut.

    Args:
        door: where requests come in.
    """

    def __init__(self, door: socket.socket) -> None:
        self._door = door
        self._lines: dict[int, socket.socket] = {}
        self._events = selectors.DefaultSelector()
        self._bell, self._rung = socket.socketpair()
        for end in (self._bell, self._rung):
            end.setblocking(False)

    def serve(self) -> Request | None:
        """Serve requests.

        Returns:
            In a child: what it is to run. In the warm process: None, as soon as the door is shut.
        """
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._rung.fileno(), warn_on_full_buffer=False)
        self._events.register(self._door, selectors.EVENT_READ)
        self._events.register(self._bell, selectors.EVENT_READ)
        while True:
            for key, _ in self._events.select():
                if key.fileobj is self._bell:
                    with suppress(BlockingIOError):
                        self._bell.recv(4096)
                elif key.fileobj is not self._door:
                    self._pass_on(key.data)
                elif (request := receive(self._door)) is None:
                    return None
                elif self._fork(request):
                    return request
            self._bury()

    def _fork(self, request: Request) -> bool:
        """Fork a child that runs what is asked for; True in the child."""
        line, tie = request.line, tied_to_parent(signal.SIGKILL)
        try:
            pid = None if is_shut(line) else os.fork()  # shut: who asked has given up
        except OSError as error:
            log.warning("cannot fork", reason=str(error))
            pid = None
        if pid == 0:
            tie()
            self._leave(request)
            return True
        os.close(request.output)
        if pid is None:
            line.close()
            return False
        self._lines[pid] = line
        self._events.register(line, selectors.EVENT_READ, pid)
        with suppress(OSError):  # it has just given up, which is heard as its silence
            line.send(b"started")
        return False

    def _leave(self, request: Request) -> None:
        """Let go, in a child, of everything that is the warm process's; output goes to the log."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._events.close()
        for shared in (self._door, self._bell, self._rung, request.line, *self._lines.values()):
            shared.close()
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        for stream in (1, 2):
            os.dup2(request.output, stream)
        os.close(request.output)

    def _pass_on(self, pid: int) -> None:
        """Give a child the signal that its supervisor sends, or SIGKILL where the supervisor has died: a frozen child
        hears nothing else, and would hold its locks for good."""
        try:
            said = self._lines[pid].recv(16)
        except OSError:
            said = b""
        os.kill(pid, int(said) if said else signal.SIGKILL)  # not buried yet, so the number is still the child's
        if not said:
            self._events.unregister(self._lines[pid])

    def _bury(self) -> None:
        """Tell how children have ended."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                line = self._lines.pop(pid)
                with suppress(KeyError):
                    self._events.unregister(line)
                with suppress(OSError):
                    line.send(str(os.waitstatus_to_exitcode(status)).encode())
                line.close()


def receive(door: socket.socket) -> Request | None:
    """The next request; None if the door is shut."""
    text, descriptors, _, _ = socket.recv_fds(door, REQUEST_BYTES, 2)
    if not text:
        return None
    line, output = descriptors
    return Request(tuple(json.loads(text)), socket.socket(fileno=line), output)


def is_shut(line: socket.socket) -> bool:
    """Whether the other end of a line has been closed."""
    poll = select.poll()
    poll.register(line, 0)  # a hang-up is told whatever is asked
    return bool(poll.poll(0))


def prepare(modules: Sequence[str] = IMPORTS) -> None:
    """Import what runners need, and prove on a trial child that this process may be forked.

    Raises:
        Unfit: it may not.
    """
    before = {name: os.environ.get(name) for name in QUIET}
    os.environ.update(QUIET)
    for name in modules:
        importlib.import_module(name)
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    if (trial := os.fork()) == 0:
        torch = sys.modules.get("torch")
        os._exit(torch is not None and torch.cuda._is_in_bad_fork())
    _, status = os.waitpid(trial, 0)
    if status != 0:
        raise Unfit(f"a trial child ended with {os.waitstatus_to_exitcode(status)}: an import has touched the GPU")
    # Where OpenBLAS is loaded, it has ended its threads to fork; it starts them again when they are needed.
    if (threads := len(list(Path("/proc/self/task").iterdir()))) > 1:
        raise Unfit(f"imports have left {threads} threads, which a fork would not copy")
    gc.collect()
    gc.freeze()


def rename(words: Sequence[str]) -> None:
    """Write other words over this process's command line, as `ps` and /proc/PID/cmdline show it (Linux)."""
    with suppress(OSError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        begin, end = int(fields[45]), int(fields[46])
        text = b"".join(word.encode() + b"\0" for word in words)
        if 0 < begin < begin + len(text) <= end:
            ctypes.memmove(begin, text.ljust(end - begin, b"\0"), end - begin)


def command(descriptor: int) -> list[str]:
    """The command that starts a warm process with this end of the door."""
    return [sys.executable, "-m", "workers.warm", str(descriptor), ROOM]


def main() -> int:
    """Get warm, then serve; a child ends as the runner that it has become."""
    door = socket.socket(fileno=int(sys.argv[1]))
    configure_logging()
    began = time.monotonic()
    try:
        prepare()
    except (Unfit, ImportError, OSError) as error:
        log.warning("this node's jobs start cold", reason=str(error))
        return UNFIT
    log.info("warm", seconds=round(time.monotonic() - began, 1))
    request = Warm(door).serve()
    if request is None:
        return 0
    rename([sys.executable, "-m", "workers.runner", *request.arguments])
    sys.modules["numpy"].random.seed()  # chance is no one's heirloom: every process draws its own
    runner = importlib.import_module("workers.runner")
    code: int = runner.main(request.arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
