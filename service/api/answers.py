"""Answers that are kept: what was written out once is given again until what it was made of has changed."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sized
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastapi.responses import Response

K = TypeVar("K", bound=Sized)

# Answers from so many bytes on are compressed, which takes 20 ms of a core for a megabyte at this level.
PACKED_FROM_BYTES, PACKED_LEVEL = 1000, 5


@dataclass(frozen=True, slots=True)
class Answer:
    """JSON that was written out.

    Attributes:
        packed: the same compressed by gzip; empty where that saves nothing worth it.
        tag: tag of the content, as `ETag` has it.
    """

    content: bytes
    packed: bytes
    tag: str

    @classmethod
    def of(cls, content: bytes) -> Answer:
        """An answer of this content."""
        packed = gzip.compress(content, PACKED_LEVEL, mtime=0) if len(content) >= PACKED_FROM_BYTES else b""
        return cls(content, packed, f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    def __len__(self) -> int:
        """Bytes that keeping it takes."""
        return len(self.content) + len(self.packed)

    def response(self, known: str | None, encodings: str | None = None) -> Response:
        """The answer, or 304 if it is known.

        Args:
            known: what the client sent as `If-None-Match`.
            encodings: what it sent as `Accept-Encoding`.
        """
        tags = {one.strip().removeprefix("W/") for one in (known or "").split(",")}
        headers = {"ETag": self.tag, "Vary": "Accept-Encoding"}
        if tags & {self.tag, "*"}:
            return Response(status_code=304, headers=headers)
        if self.packed and takes_gzip(encodings):
            headers |= {"ETag": f"W/{self.tag}", "Content-Encoding": "gzip"}
            return Response(self.packed, media_type="application/json", headers=headers)
        return Response(self.content, media_type="application/json", headers=headers)


def takes_gzip(encodings: str | None) -> bool:
    """Whether an `Accept-Encoding` names gzip, and not as what is never wanted."""
    for one in (encodings or "").lower().split(","):
        name, _, weight = one.replace(" ", "").partition(";q=")
        if name in ("gzip", "*") and weight not in ("0", "0.0", "0.00", "0.000"):
            return True
    return False


class Kept(Generic[K]):
    """Answers, or parts of them, by name, each of one version. Those that were asked for last are kept.

    Args:
        most_bytes: most that are kept in all.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: OrderedDict[str, tuple[Hashable, K]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str, version: Hashable) -> K | None:
        """What is kept of this version; None: it is not there."""
        with self._lock:
            known = self._kept.get(name)
            if known is None or known[0] != version:
                return None
            self._kept.move_to_end(name)
            return known[1]

    def keep(self, name: str, version: Hashable, answer: K) -> None:
        """Keep it in place of an earlier one of its name."""
        with self._lock:
            self._drop(name)
            self._kept[name] = (version, answer)
            self._bytes += len(answer)
            while self._bytes > self._most_bytes:
                self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _drop(self, name: str) -> None:
        known = self._kept.pop(name, None)
        self._bytes -= 0 if known is None else len(known[1])
