"""Which tests run one after the other in one process: those of a file, and all that wait for the whole stack.

A test of the whole stack waits most of its time, for a job, a lease or a measurement. All of them are one lane, so that
one stack is started, measurements do not wait for each other, and the other processes keep the cores busy meanwhile.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

WHOLE_STACK = ("tests/e2e/", "tests/chaos/")


class Lanes(LoadFileScheduling):  # type: ignore[misc]
    """Files in the order of collection, each by one process."""

    def _split_scope(self, nodeid: str) -> str:
        own: str = super()._split_scope(nodeid)
        return "the whole stack" if nodeid.startswith(WHOLE_STACK) else own
