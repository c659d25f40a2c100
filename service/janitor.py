"""The janitor: stops what a `winnow up` had started if that is killed. It inherits the folder's lock and a pipe.

`python -m service.janitor FOLDER LOCK`: a byte on the pipe says that all is stopped; its end without one, that nobody
is left to do so.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from service.embedded import stop_servers
from service.folder_lock import STATE_FILE, is_alive, read_state

# Processes that were told to end by the death of their parent have so long: a worker writes a checkpoint.
ENDING_SECONDS = 28.0


def clean_up(folder: Path) -> None:
    """Wait for the parts to end, kill what does not, then stop the servers."""
    holder = read_state(folder)
    parts = [] if holder is None else [part.pid for part in holder.parts if part.pid is not None]
    for pid in parts:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + ENDING_SECONDS
    while any(map(is_alive, parts)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in parts:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    stop_servers(folder)
    with suppress(FileNotFoundError):
        (folder / STATE_FILE).unlink()


def main() -> int:
    """Wait for the end of whoever started this."""
    folder = Path(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if not sys.stdin.buffer.read(1):
        clean_up(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
