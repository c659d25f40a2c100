"""Runners that are forked off a warm process: their ends, their logs, and what becomes of them when others die."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.lifeline import Child, stop
from workers import children, warm
from workers.node import DEATHS, WarmDoor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the warm process forks on Linux alone")

# A warm process as workers.warm runs it, whose runners do what the words of their command say, as Python.
PROCESS = """
import socket, sys
from workers import warm
warm.prepare(["json"])
request = warm.Warm(socket.socket(fileno=int(sys.argv[1]))).serve()
if request is not None:
    warm.rename([sys.executable, "-m", "workers.runner", *request.arguments[1:]])
    exec(request.arguments[0])
"""
SLEEP = "import time; print('asleep', flush=True); time.sleep(60)"


def eventually(happened: Callable[[], object], what: str) -> None:
    """It happens, however busy the machine is."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class Bench:
    """A door, and warm processes behind it."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "logs" / "runner.log"
        self.outside, self.inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.processes: list[subprocess.Popen[bytes]] = []

    def warm_up(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", PROCESS, str(self.inside.fileno()), warm.ROOM]
        self.processes.append(subprocess.Popen(command, pass_fds=(self.inside.fileno(),)))
        return self.processes[-1]

    def start(self, program: str, *words: str) -> Child:
        return children.start([sys.executable, "-m", children.RUNNER, program, *words], self.log)

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def pid(self) -> int:
        """Of the runner that has written that it sleeps."""
        eventually(lambda: "asleep" in self.text(), "nothing was forked")
        (child,) = Path(f"/proc/{self.processes[-1].pid}/task/{self.processes[-1].pid}/children").read_text().split()
        return int(child)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path)
    monkeypatch.setenv(warm.DOOR, str(made.outside.fileno()))
    monkeypatch.setattr(children, "RUNNER", "json.tool")  # what starts cold is light
    yield made
    for process in made.processes:
        process.kill()
        process.wait()
    made.outside.close()
    made.inside.close()


def test_a_runner_is_forked_writes_its_log_and_ends_with_its_code(bench: Bench) -> None:
    process = bench.warm_up()
    program = "import os, sys; print(os.getppid()); print('and', file=sys.stderr); print(sys.stdin.read()); sys.exit(3)"
    assert bench.start(program).wait(60) == 3
    assert bench.start(program).wait(60) == 3
    assert (
        bench.text().split() == ["and", str(process.pid)] * 2 or bench.text().split() == [str(process.pid), "and"] * 2
    )


def test_a_runner_shares_no_socket_with_the_warm_process_or_another_runner(bench: Bench) -> None:
    bench.warm_up()
    other = bench.start(SLEEP)
    bench.pid()
    program = (
        "import os; print(sorted(os.readlink(f'/proc/self/fd/{name}') for name in os.listdir('/proc/self/fd')[:-1]))"
    )
    assert bench.start(program).wait(60) == 0
    assert bench.text() == f"asleep\n{[os.devnull, str(bench.log), str(bench.log)]}\n"
    stop(other, 60)
    assert other.poll() == -signal.SIGTERM


def test_its_command_line_says_what_it_does(bench: Bench) -> None:
    bench.warm_up()
    child = bench.start(SLEEP, "job", "c0ffee", "7")
    words = Path(f"/proc/{bench.pid()}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    assert words == [os.fsencode(sys.executable), b"-m", b"workers.runner", b"job", b"c0ffee", b"7"]
    child.kill()
    child.wait(60)


def test_a_killed_runner_tells_its_signal(bench: Bench) -> None:
    bench.warm_up()
    child = bench.start(SLEEP)
    assert child.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.01)
    os.kill(bench.pid(), signal.SIGKILL)
    assert child.wait(60) == child.poll() == -signal.SIGKILL


def test_a_runner_ends_with_its_supervisor(bench: Bench) -> None:
    process = bench.warm_up()
    child = bench.start(SLEEP)
    pid = bench.pid()
    assert isinstance(child, children.Forked)
    child._line.close()  # as the death of the supervisor does
    eventually(lambda: not is_alive(pid), "the runner lives on")
    assert bench.start("pass").wait(60) == 0
    assert process.poll() is None


def test_a_frozen_runner_ends_with_its_supervisor_too(bench: Bench) -> None:
    bench.warm_up()
    child = bench.start(SLEEP)
    pid = bench.pid()
    os.kill(pid, signal.SIGSTOP)
    assert isinstance(child, children.Forked)
    child._line.close()
    eventually(lambda: not is_alive(pid), "the frozen runner lives on")


def test_runners_end_with_the_warm_process_and_the_next_one_serves_who_waits(bench: Bench) -> None:
    process = bench.warm_up()
    child = bench.start(SLEEP)
    pid = bench.pid()
    process.kill()
    process.wait()
    assert child.wait(60) == -signal.SIGTERM
    eventually(lambda: not is_alive(pid), "the runner lives on")
    waiting = bench.start("import os; print('parent', os.getppid())")
    assert waiting.poll() is None
    second = bench.warm_up()
    assert waiting.wait(60) == 0
    assert f"parent {second.pid}" in bench.text()


def test_what_is_killed_before_it_has_begun_never_begins(bench: Bench) -> None:
    child = bench.start("print('begun')")
    child.terminate()
    child.kill()
    assert child.wait(60) == -signal.SIGKILL
    other = bench.start("print('the other')")
    bench.warm_up()
    assert other.wait(60) == 0
    bench.start("pass").wait(60)
    assert bench.text() == "the other\n"


def test_without_a_door_or_behind_a_shut_one_runners_start_cold_and_it_is_said_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    children.say_cold.cache_clear()
    bench.inside.close()
    for _ in range(2):
        assert bench.start("--help").wait(60) == 0
    assert "usage: " in bench.text()
    assert capfd.readouterr().out.count("runners start cold") == 1
    monkeypatch.delenv(warm.DOOR)
    child = bench.start("--help")
    assert isinstance(child, subprocess.Popen)
    child.wait(60)
    assert "this worker has no warm process" in capfd.readouterr().out


def test_a_request_that_dies_with_the_warm_process_starts_cold(bench: Bench) -> None:
    child = bench.start("--help")
    request = warm.receive(bench.inside)
    assert request is not None
    assert request.arguments == ("--help",)
    request.line.close()
    os.close(request.output)
    assert child.wait(60) == 0
    assert "usage: " in bench.text()


def test_only_runners_of_one_process_are_forked(bench: Bench) -> None:
    child = children.start([sys.executable, "-c", "print('cold')", "workers.runner"], bench.log)
    assert isinstance(child, subprocess.Popen)
    assert child.wait(60) == 0
    assert bench.text() == "cold\n"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "2 threads"),
        ("import types, sys; sys.modules['torch'] = types.SimpleNamespace("
         "cuda=types.SimpleNamespace(_is_in_bad_fork=lambda: True))", "touched the GPU"),
    ],
)  # fmt: skip
def test_a_process_that_may_not_be_forked_refuses(tmp_path: Path, source: str, says: str) -> None:
    (tmp_path / "unfit.py").write_text(source)
    program = "import sys; from workers import warm; sys.path.insert(0, sys.argv[1]); warm.prepare(['unfit'])"
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)
    assert "workers.warm.Unfit" in done.stderr
    assert says in done.stderr


@pytest.mark.thorough
def test_a_door_replaces_a_warm_process_that_dies_and_gives_up_when_each_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.node.RESTART_SECONDS", 0.0)
    monkeypatch.setattr(warm, "command", lambda _descriptor: [sys.executable, "-c", "import os; os.abort()"])
    door, started = WarmDoor(), set()
    for _ in range(DEATHS):
        assert door.passed
        door.keep(dict(os.environ))
        assert door._process is not None
        started.add(door._process.pid)
        door._process.wait()
    door.keep(dict(os.environ))
    assert len(started) == DEATHS
    assert door.passed == {}
    assert door.descriptors == ()
    door.close()
