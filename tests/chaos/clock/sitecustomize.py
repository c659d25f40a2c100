"""A clock that can jump: whatever Python program has this folder on its path adds the seconds that a file holds to the
time of day. Nothing else can be changed for one process alone; clocks that only count on are left as they are."""

import os
import time

_told = os.environ.get("WINNOW_TEST_CLOCK")


def _jumping() -> None:
    real, monotonic, looked, offset = time.time, time.monotonic, -1.0, 0.0

    def now() -> float:
        nonlocal looked, offset
        if monotonic() - looked > 0.2:
            looked = monotonic()
            try:
                with open(_told or "", encoding="ascii") as file:
                    offset = float(file.read() or 0)
            except (OSError, ValueError):
                pass  # it is being written
        return real() + offset

    time.time = now
    time.time_ns = lambda: int(1e9 * now())


if _told:
    _jumping()
