"""The whole service on one machine: servers, API and worker. What `winnow up` and the demo run."""

from __future__ import annotations

import contextlib
import errno
import getpass
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from service.auth import keys
from service.auth.hosts import refuse_open_network
from service.auth.scopes import Scope
from service.auth.sessions import write_private
from service.client import Client
from service.credentials import ADMIN_KEY_FILE, stored_key
from service.embedded import EmbeddedServers
from service.errors import Unauthorized, Unavailable
from service.folder_lock import FolderLock, FolderTaken, Part
from service.lifeline import open_private_log, tied_to_parent
from service.settings import Settings, without_password
from service.store import schema
from service.store.session import Database

START_SECONDS = 300.0
# A worker that drains needs almost half a minute.
STOP_SECONDS = 29.0
# From an end to the next start: doubled each time, up to the most; a part that lives for so long is well again.
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS, WELL_SECONDS = 1.0, 60.0, 60.0


class Care:
    """How often a part was started again, and when it is due."""

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE_SECONDS
        self._due: float | None = None
        self._began = time.monotonic()
        self._restarts = 0
        self._reason: str | None = None

    def is_well(self) -> None:
        """It runs."""
        self._due = None
        if time.monotonic() - self._began > WELL_SECONDS:
            self._pause = FIRST_PAUSE_SECONDS

    def is_due(self, reason: str) -> bool:
        """It has ended: whether it is to be started again now."""
        now = time.monotonic()
        if self._due is None:
            self._due, self._reason = now + self._pause, reason
            self._pause = min(2 * self._pause, MOST_PAUSE_SECONDS)
        if now < self._due:
            return False
        self._due, self._began = None, now
        self._restarts += 1
        return True

    def part(self, name: str, pid: int | None) -> Part:
        """What is told of it."""
        state = "running" if self._due is None else "restarting"
        return Part(name, state, pid, self._restarts, self._reason)


class StackError(Exception):
    """The service does not come up; the message is one line for a person."""


class Stack:
    """Starts what the settings do not name, applies migrations, then runs API and worker.

    Args:
        settings: outside servers are used if it names them; otherwise embedded ones are started.
        port: that the API listens on; 0 for any free one.
    """

    def __init__(self, settings: Settings, port: int) -> None:
        self._settings = settings
        self.servers: EmbeddedServers | None = None
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self._port = port or free_port(settings.host)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
        # An admin's, kept in the data folder; None where keys are off.
        self.api_key: str | None = None
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._port}"
        self._lock: FolderLock | None = None
        self._janitor: subprocess.Popen[bytes] | None = None
        self._care: dict[str, Care] = {}

    @property
    def families_dir(self) -> Path | None:
        """Where it looks for families of the user's own."""
        return self._settings.families_dir

    @property
    def tasks_dir(self) -> Path | None:
        """Where its workers look for task files."""
        return self._settings.tasks_dir

    def start(self) -> None:
        """Start everything and wait until the API is ready.

        Raises:
            StackError: something does not come up, with its reason.
        """
        settings = self._settings
        if port_is_taken(settings.host, self._port):
            raise StackError(
                f"Port {self._port} of {settings.host} is taken. Is Winnow running already? "
                "Stop it, or choose another with --port."
            )
        refuse_open_network(settings)
        try:
            self._lock = FolderLock(settings.data_dir, self.url)
        except FolderTaken as error:
            raise StackError(str(error)) from None
        self._start_janitor(self._lock)
        self._settings = settings = self._with_servers(settings)
        try:
            assert settings.database_url is not None
            database = Database(settings.database_url)
            database.check()
            schema.upgrade(settings.database_url)
            if settings.auth == "on":
                self.api_key = admin_key(database, settings.data_dir)
            database.close()
        except (Unavailable, ValueError) as error:
            raise StackError(str(error)) from None
        self.spawn_api()
        self.spawn_worker()
        self._say()
        self._wait_until_ready()

    def _start_janitor(self, lock: FolderLock) -> None:
        """Start the process that stops everything if this one is killed."""
        with open_private_log(self.log_path("janitor")) as log:
            self._janitor = subprocess.Popen(
                [sys.executable, "-m", "service.janitor", str(self.data_dir)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(lock.descriptor,),
            )

    def look_after(self) -> None:
        """Start again what has ended, later each time that it ends soon, and say so."""
        for name, child in self.children.items():
            code = child.poll()
            care = self._care.setdefault(name, Care())
            if code is None:
                care.is_well()
            elif care.is_due(f"exit code {code}, log {self.log_path(name)}"):
                self._start_again[name]()
        if self.servers is not None:
            ended = self.servers.troubles()
            for name in ("postgres", "redis"):
                care = self._care.setdefault(name, Care())
                if name not in ended:
                    care.is_well()
                elif care.is_due(ended[name]):
                    with contextlib.suppress(RuntimeError, OSError, subprocess.SubprocessError):
                        self.servers.restart(name)
        self._say()

    @property
    def _start_again(self) -> dict[str, Callable[[], None]]:
        return {"api": self.spawn_api, "worker": self.spawn_worker}

    def _say(self) -> None:
        """Tell the API, and whoever comes later, what the parts do."""
        pids = {name: child.pid for name, child in self.children.items()}
        names = [*self.children, *(name for name in self._care if name not in self.children)]
        parts = tuple(self._care.setdefault(name, Care()).part(name, pids.get(name)) for name in names)
        if self._lock is not None and parts != self._said:
            self._said = parts
            self._lock.say(parts)

    _said: tuple[Part, ...] = ()

    def spawn_api(self) -> None:
        """Start the API process."""
        arguments = ("--host", self._settings.host, "--port", str(self._port), "--log-level", "warning")
        # An open event stream must not keep a stopping API alive.
        grace = ("--timeout-graceful-shutdown", "3")
        self._spawn("api", "uvicorn", "service.api.app:create_app", "--factory", *arguments, *grace)

    def spawn_worker(self) -> None:
        """Start the worker node."""
        self._spawn("worker", "workers.node")

    def _with_servers(self, settings: Settings) -> Settings:
        if settings.database_url and settings.redis_url:
            return settings
        self.servers = EmbeddedServers(settings.data_dir)
        try:
            self.servers.start()
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            raise StackError(f"The embedded servers do not start: {error}") from None
        return settings.model_copy(
            update={
                "database_url": settings.database_url or self.servers.database_url,
                "redis_url": settings.redis_url or self.servers.redis_url,
            }
        )

    @property
    def data_dir(self) -> Path:
        """Folder of everything this stack stores."""
        return self._settings.data_dir

    def sign_in_url(self) -> str:
        """An address that signs one browser in, once. Its token is behind #, which no server and no log sees."""
        if self.api_key is None:
            return self.url
        with Client(self.url, key=self.api_key) as client:
            return f"{self.url}/sign-in#token={client.make_link()}"

    def how_to_sign_in(self) -> str:
        """A line for whoever started it."""
        if self.api_key is None:
            return "Sign-in is off (WINNOW_AUTH=off): whoever reaches this port may do everything."
        return f"Sign in, once, with {self.sign_in_url()}"

    def environment(self) -> dict[str, str]:
        """Environment variables with which other processes join this stack. They may hold passwords."""
        assert self._settings.database_url is not None
        assert self._settings.redis_url is not None
        return {
            "WINNOW_DATABASE_URL": self._settings.database_url,
            "WINNOW_REDIS_URL": self._settings.redis_url,
            "WINNOW_DATA_DIR": str(self._settings.data_dir),
            "WINNOW_URL": self.url,
            "WINNOW_HOST": self._settings.host,
            "WINNOW_DATA_ROOTS": self._settings.data_roots or default_roots(),
            "WINNOW_AUTH": self._settings.auth,
            "WINNOW_HUB": self._settings.hub,
            **({"WINNOW_ALLOWED_HOSTS": hosts} if (hosts := self._settings.allowed_hosts) else {}),
            **({"WINNOW_FAMILIES_DIR": str(families.resolve())} if (families := self._settings.families_dir) else {}),
            **({"WINNOW_TASKS_DIR": str(tasks.resolve())} if (tasks := self._settings.tasks_dir) else {}),
        }

    def _spawn(self, name: str, module: str, *arguments: str) -> None:
        path = self.log_path(name)
        with open_private_log(path) as log:
            self.children[name] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,
                preexec_fn=tied_to_parent(),
            )

    def log_path(self, name: str) -> Path:
        """Where a child writes what it has to say."""
        return self._settings.data_dir / "logs" / f"{name}.log"

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with Client(self.url, timeout_seconds=2) as client:
            while not client.ready():
                self.check()
                if time.monotonic() > deadline:
                    raise StackError(f"The API does not answer; its log is {self.log_path('api')}.")
                time.sleep(0.1)

    def check(self) -> None:
        """Look after the children.

        Raises:
            StackError: one has ended.
        """
        for name, child in self.children.items():
            if child.poll() is not None:
                tail = self.log_path(name).read_text(errors="replace").strip().split("\n")[-1]
                raise StackError(f"The {name} process ended: {tail} (log: {self.log_path(name)})")

    def stop(self) -> None:
        """Stop everything that was started, worker first."""
        for name in ("worker", "api"):
            child = self.children.pop(name, None)
            if child is None:
                continue
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if self.servers is not None:
            self.servers.stop()
            self.servers = None
        if self._janitor is not None and self._janitor.stdin is not None:
            with contextlib.suppress(OSError):
                self._janitor.stdin.write(b".")
            self._janitor.stdin.close()
            self._janitor.wait()
            self._janitor = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None


@contextlib.contextmanager
def running_stack(
    settings: Settings, port: int, starting: contextlib.AbstractContextManager[object] | None = None
) -> Iterator[Stack]:
    """A stack for the length of a block; stopped however the block ends.

    Args:
        starting: entered while the stack starts, to show that something happens.
    """
    stack = Stack(settings, port)
    try:
        with starting or contextlib.nullcontext():
            stack.start()
        yield stack
    finally:
        stack.stop()


def admin_key(database: Database, data_dir: Path) -> str:
    """The key that keeps this machine's user signed in: the one in the data folder, or a new one if that is no more."""
    if (key := stored_key(data_dir)) is not None:
        with contextlib.suppress(Unauthorized), database.transaction() as session:
            keys.find(session, key)
            return key
    with database.transaction() as session:
        _, key = keys.create(session, f"winnow up of {getpass.getuser()}", Scope.ADMIN)
        data_dir.mkdir(parents=True, exist_ok=True)
        write_private(data_dir / ADMIN_KEY_FILE, key)
    return key


def default_roots() -> str:
    """What is open to jobs on a machine of one's own: home, the folder that one is in, the Hub's cache."""
    return ":".join(map(str, (Path.home(), Path.cwd(), Path.home() / ".cache" / "huggingface")))


def without_passwords(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables as they may be printed."""
    return {name: without_password(value) for name, value in environment.items()}


def free_port(host: str) -> int:
    """A port that nobody listens on."""
    family, where = _address(host, 0)
    with socket.socket(family) as probe:
        probe.bind(where)
        port: int = probe.getsockname()[1]
        return port


def port_is_taken(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    family, where = _address(host, port)
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise StackError(f"WINNOW_HOST {host!r} cannot be listened on at port {port}: {error.strerror}.") from None
    return False


def _address(host: str, port: int) -> tuple[int, Any]:
    """Family and address to listen on, of IPv4 or IPv6.

    Raises:
        StackError: the name has none.
    """
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise StackError(f"WINNOW_HOST {host!r} has no address: {error}.") from None
    return family, where
