"""Keys that were looked up a moment ago, so that not every request asks the database who its key is.

A key that is revoked is forgotten as soon as PostgreSQL tells of it, which takes milliseconds; while nothing can be
told, nothing is remembered. Should a notice be lost nevertheless, a key is looked up again after `SECONDS`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.auth.keys import Identity

SECONDS = 5.0
# Far more keys than are in use at once; then all are looked up again.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    who: Identity
    until: float


class KnownKeys:
    """Identities by the digest of the key.

    Args:
        told: whether revoked keys are told of now.
    """

    def __init__(self, told: Callable[[], bool]) -> None:
        self._told, self._lock = told, threading.Lock()
        self._known: dict[bytes, _Known] = {}
        self._age = 0

    @property
    def age(self) -> int:
        """Grows whenever all is forgotten: what was looked up before must not be kept after."""
        return self._age

    def get(self, text: str) -> Identity | None:
        """Whose key this text is; None: look it up."""
        if not self._told():
            return None
        found = self._known.get(_name(text))
        return found.who if found is not None and time.monotonic() < found.until else None

    def keep(self, text: str, who: Identity, age: int, seconds: float | None) -> None:
        """Remember a valid key.

        Args:
            age: when the look-up began.
            seconds: until the key expires; None: it does not.
        """
        until = time.monotonic() + min(SECONDS, SECONDS if seconds is None else seconds)
        with self._lock:
            if age != self._age:
                return
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[_name(text)] = _Known(who, until)

    def forget(self) -> None:
        """A key was revoked."""
        with self._lock:
            self._age += 1
            self._known.clear()


def _name(text: str) -> bytes:
    """What stands for a key here: not the key."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
