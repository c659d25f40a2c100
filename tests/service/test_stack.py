"""`winnow up`: one per data folder, parts that are started again, servers that are stopped, and addresses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from service import stack
from service.client import Client, ClientError
from service.embedded import EmbeddedServers, running_postgres, socket_of
from service.folder_lock import FolderLock, FolderTaken, Holder, Part, is_alive, read_state, troubles, write_state
from service.queue import NAMESPACE, Queue, celery_url, database_of, redis_url_of
from service.stack import Care, StackError, free_port, port_is_taken
from tests.conftest import open_folder


def eventually(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- one folder, one `up` -----------------------------------------------------------------------------


def test_a_folder_is_served_once_and_the_second_hears_by_whom(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path, "http://127.0.0.1:1")
    with pytest.raises(FolderTaken, match=rf"process {os.getpid()} at http://127.0.0.1:1"):
        FolderLock(tmp_path, "http://127.0.0.1:2")
    lock.release()
    FolderLock(tmp_path, "http://127.0.0.1:2").release()


def test_after_a_kill_the_next_one_waits_for_the_janitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = FolderLock(tmp_path, "http://127.0.0.1:1")
    dead = subprocess.Popen(["true"])
    dead.wait()
    write_state(tmp_path, Holder(dead.pid, "http://127.0.0.1:1", "then"))
    monkeypatch.setattr(time, "sleep", lambda _seconds: lock._file.close())  # the janitor ends
    FolderLock(tmp_path, "http://127.0.0.1:2").release()


def test_troubles_of_parts_are_those_of_a_living_up(tmp_path: Path) -> None:
    parts = (Part("api", "running", 1, 0, None), Part("worker", "restarting", 2, 3, "exit code 1"))
    write_state(tmp_path, Holder(os.getpid(), "", "", parts))
    assert len(troubles(tmp_path)) == 1
    assert "worker" in troubles(tmp_path)[0]
    write_state(tmp_path, Holder(2**22 + 1, "", "", parts))
    assert troubles(tmp_path) == []
    (tmp_path / "up.json").write_text("not JSON")
    assert (troubles(tmp_path), read_state(tmp_path)) == ([], None)


@pytest.fixture
def servers_of_a_folder() -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A folder whose servers and janitor a process has started, which can be killed."""
    program = """
import sys, time
from pathlib import Path
from service.embedded import EmbeddedServers
from service.settings import Settings
from service.stack import Stack
from service.folder_lock import FolderLock
folder = Path(sys.argv[1])
stack = Stack(Settings(data_dir=folder, database_url=None, redis_url=None), 0)
stack._lock = FolderLock(folder, "here")
stack._start_janitor(stack._lock)
EmbeddedServers(folder).start()
print("started", flush=True)
time.sleep(600)
"""
    with open_folder() as folder:
        process = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        yield folder, process
        process.stdout.close()
        process.kill()
        process.wait()
        eventually(lambda: running_postgres(folder) is None)


@pytest.mark.thorough
def test_what_a_killed_up_had_started_is_stopped(servers_of_a_folder: tuple[Path, subprocess.Popen[bytes]]) -> None:
    folder, process = servers_of_a_folder
    postgres = running_postgres(folder)
    assert postgres is not None
    redis = Redis(unix_socket_path=str(socket_of(folder))).info("server")["process_id"]
    process.kill()
    process.wait()
    eventually(lambda: not is_alive(postgres) and not is_alive(redis))
    FolderLock(folder, "again").release()


@pytest.mark.thorough
def test_servers_that_are_joined_are_stopped_and_dead_ones_started_again() -> None:
    with open_folder() as folder:
        first, second = EmbeddedServers(folder), EmbeddedServers(folder)
        first.start()
        second.start()
        postgres = running_postgres(folder)
        assert postgres is not None
        assert second.troubles() == {}
        os.kill(int(Redis(unix_socket_path=str(socket_of(folder))).info("server")["process_id"]), signal.SIGKILL)
        eventually(lambda: set(second.troubles()) == {"redis"})
        second.restart("redis")
        os.kill(postgres, signal.SIGQUIT)
        eventually(lambda: set(second.troubles()) == {"postgres"})
        second.restart("postgres")
        assert second.troubles() == {}
        again = running_postgres(folder)
        assert again != postgres
        second.stop()
        assert running_postgres(folder) is None
        assert not socket_of(folder).exists()
        first.stop()


def test_a_part_that_ends_soon_is_started_again_later_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

    monkeypatch.setattr(stack, "time", Clock)
    care, pauses = Care(), []
    for _ in range(8):
        began = now
        while not care.is_due("exit code 1"):
            assert care.part("worker", None).state == "restarting"
            now += 0.5
        pauses.append(now - began)
        care.is_well()
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    now += 61
    care.is_well()
    assert not care.is_due("again")
    now += 1
    assert care.is_due("again")
    assert care.part("worker", 5).restarts == 9


# --- addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_ports_of_every_family_are_looked_at(host: str) -> None:
    try:
        port = free_port(host)
    except (StackError, OSError):
        pytest.skip(f"this machine has no {host}")
    assert not port_is_taken(host, port)


def test_a_host_that_is_none_is_said_so() -> None:
    with pytest.raises(StackError, match="has no address"):
        port_is_taken("no.such.host.invalid", 1)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense"])
def test_loopback_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for host in ("127.0.0.1", "localhost", "[::1]"):
        with Client(f"http://{host}:1", key="k") as client:
            assert client._http._mounts == {}
            assert not client.ready()


def test_a_proxy_that_cannot_be_used_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://127.0.0.1:9")
    with pytest.raises(ClientError, match="proxy of the environment"):
        Client("http://example.org", key="k")


# --- the broker's address -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "for_celery", "for_redis"),
    [
        ("redis://h:1/2", "redis://h:1/2", "redis://h:1/2"),
        ("redis://:pw@h", "redis://:pw@h/0", "redis://:pw@h/0"),
        ("redis://h/?db=4", "redis://h/4", "redis://h/4"),
        ("unix:///tmp/x", "redis+socket:///tmp/x?virtual_host=0", "unix:///tmp/x?db=0"),
        ("unix:///tmp/x?db=3", "redis+socket:///tmp/x?virtual_host=3", "unix:///tmp/x?db=3"),
    ],
)
def test_both_clients_of_redis_use_the_same_database(url: str, for_celery: str, for_redis: str) -> None:
    assert (celery_url(url), redis_url_of(url)) == (for_celery, for_redis)


@pytest.mark.parametrize("url", ["redis://h/1?db=2", "redis://h/x", "unix:///tmp/x?db=a"])
def test_two_numbers_or_none_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="one number"):
        database_of(url)


def test_wake_ups_lie_in_the_database_and_namespace_of_the_setting(servers: EmbeddedServers) -> None:
    queue, name = Queue(f"{servers.redis_url}?db=5"), "measure.of-a-test"
    queue.wake("winnow.run_measurement", "x", name)
    with Redis(unix_socket_path=servers.redis_url.removeprefix("unix://"), db=5) as redis:
        assert redis.llen(f"{NAMESPACE}{name}") == 1
        assert all(key.startswith(NAMESPACE.encode()) for key in redis.scan_iter())
        assert "winnow.run_measurement" in json.dumps(json.loads(redis.lindex(f"{NAMESPACE}{name}", 0))["headers"])
    assert queue.waiting(name) == 1
    queue.drain(name)
    assert queue.waiting(name) == 0
