"""Clean processes: Pythons that know nothing of ours, in which a written file loads as it would for anybody else.

Importing torch and transformers is most of what such a process costs. Inside `kept_warm` a Python that has imported
them, and nothing of ours, forks a child for each request. The child is as clean as a fresh process: it has the flags
-I and -B, the environment and the folder that were asked for, and it tells which packages it has imported.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

# Package -> what is imported for it beforehand: what makes no thread, and what every use of it imports.
WARM = {
    "torch": ("torch", "torch.utils.data"),
    "safetensors": ("safetensors.torch",),
    "transformers": ("transformers", "transformers.modeling_utils", "transformers.models.auto.modeling_auto"),
}

# What a script may ask in either process: the packages that it has imported.
COLD = """
import sys
def imported():
    return {name.split(".")[0] for name in sys.modules}
"""

# Serves until its input ends; each line is a request, each answer an exit code. What `imported` tells is what import
# statements of the child have named, and what these packages name themselves.
SERVER = """
import builtins, importlib, json, os, sys, traceback
asked, named, plain = set(), {}, builtins.__import__
def recording(name, globals=None, locals=None, fromlist=(), level=0):
    if not level:
        asked.add(name.split(".")[0])
    return plain(name, globals, locals, fromlist, level)
def imported():
    found, new = set(), set(asked)
    while new:
        found |= new
        new = {each for name in new for each in named.get(name, ())} - found
    return found
builtins.__import__ = recording
for package, modules in json.loads(sys.argv[1]).items():
    asked.clear()
    for module in modules:
        importlib.import_module(module)
    named[package] = set(asked) | named.get(package, set())
asked.clear()
def become(request):
    for number, path in (1, request["out"]), (2, request["err"]):
        os.dup2(os.open(path, os.O_WRONLY), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["-c", *request["arguments"]]
    code = 0
    try:
        exec(compile(request["script"], "<string>", "exec"), {"__name__": "__main__", "imported": imported})
    except SystemExit as stop:
        code = stop.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
# Where OpenBLAS is loaded, it ends its threads to fork, and starts them again when they are needed.
if not os.fork():
    os._exit(0)
os.wait()
print(len(os.listdir("/proc/self/task")), flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        become(json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a clean process has ended: its exit code, negative for a signal, and what it wrote."""

    code: int
    out: str
    err: str


class _Warm:
    """A Python that has imported some packages, and forks."""

    def __init__(self, packages: Sequence[str], environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", SERVER, json.dumps({name: WARM[name] for name in packages})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            text=True,
            process_group=0,
        )
        # A fork would have only one of several threads.
        self.fit = self._answer() == 1

    def run(self, script: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Ended | None:
        """How a forked child ends; None: this process has died."""
        with self._lock, tempfile.TemporaryDirectory(prefix="winnow-") as own:
            out, err = Path(own, "out"), Path(own, "err")
            out.touch()
            err.touch()
            request = {
                "script": script,
                "arguments": list(arguments),
                "folder": str(folder),
                "environment": dict(environment),
                "out": str(out),
                "err": str(err),
            }
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
                code = self._answer()
            except BrokenPipeError:
                code = None
            except BaseException:  # whoever asked is to stop: the child must not go on
                os.killpg(self._process.pid, signal.SIGKILL)
                raise
            return None if code is None else Ended(code, out.read_text(), err.read_text())

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _answer(self) -> int | None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return int(line) if line.strip() else None


@dataclass
class _Shelf:
    """Warm processes by their environment, all with the same packages; None where one may not be forked."""

    packages: tuple[str, ...]
    processes: dict[object, _Warm | None]


_KEPT: ContextVar[_Shelf | None] = ContextVar("warm clean processes", default=None)


@contextmanager
def kept_warm(packages: Collection[str] = tuple(WARM)) -> Iterator[None]:
    """Let clean processes be forked off a warm one inside; it ends with the outermost of such blocks.

    Off Linux, where nobody knows how many threads a process has, every clean process starts cold.

    Args:
        packages: that it imports, of those of `WARM`.
    """
    wanted = tuple(name for name in WARM if name in packages)
    if _KEPT.get() is not None or not wanted or sys.platform != "linux":
        yield
        return
    shelf = _Shelf(wanted, {})
    token = _KEPT.set(shelf)
    try:
        yield
    finally:
        _KEPT.reset(token)
        for warm in filter(None, shelf.processes.values()):
            warm.close()


def run_python(
    script: str,
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    packages: Sequence[str] = (),
    python: str = sys.executable,
) -> Ended:
    """Run a script in a process that knows nothing of ours.

    Args:
        script: may ask `imported()` for the names of the packages that it has imported.
        folder: where it runs.
        packages: that it may import.
        python: the interpreter.
    """
    warm = _warm(packages, environment) if python == sys.executable else None
    if warm is not None and (ended := warm.run(script, arguments, folder, environment)) is not None:
        return ended
    done = subprocess.run(
        [python, "-I", "-B", "-c", COLD + script, *arguments],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


# Read while torch is loaded, so a process that has loaded it already cannot follow them.
_FIXED = ("OMP_", "MKL_", "KMP_", "HF_", "CUDA_")


def _warm(packages: Sequence[str], environment: Mapping[str, str]) -> _Warm | None:
    shelf = _KEPT.get()
    if shelf is None or not set(packages) & set(shelf.packages):
        return None
    fixed = tuple(sorted((name, value) for name, value in environment.items() if name.startswith(_FIXED)))
    if fixed not in shelf.processes:
        warm = _Warm(shelf.packages, environment)
        if not warm.fit:  # nor is its memory of any use
            warm.close()
        shelf.processes[fixed] = warm if warm.fit else None
    return shelf.processes[fixed]
