"""Answers that are kept: what was written out once is given again until what it was made of has changed."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from fastapi.responses import Response


@dataclass(frozen=True, slots=True)
class Answer:
    """JSON that was written out.

    Attributes:
        tag: of the content, as `ETag` has it.
    """

    content: bytes
    tag: str

    @classmethod
    def of(cls, content: bytes) -> Answer:
        """An answer of this content."""
        return cls(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    def response(self, known: str | None) -> Response:
        """The answer, or 304 if it is known.

        Args:
            known: what the client sent as `If-None-Match`.
        """
        tags = {one.strip().removeprefix("W/") for one in (known or "").split(",")}
        headers = {"ETag": self.tag}
        if tags & {self.tag, "*"}:
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type="application/json", headers=headers)


class Answers:
    """Answers by name, each of one version. Those that were asked for last are kept.

    Args:
        most_bytes: that are kept in all.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: OrderedDict[str, tuple[Hashable, Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str, version: Hashable) -> Answer | None:
        """The answer of this version; None: it is not there."""
        with self._lock:
            known = self._kept.get(name)
            if known is None or known[0] != version:
                return None
            self._kept.move_to_end(name)
            return known[1]

    def keep(self, name: str, version: Hashable, answer: Answer) -> None:
        """Keep an answer in place of an earlier one of its name."""
        with self._lock:
            self._drop(name)
            self._kept[name] = (version, answer)
            self._bytes += len(answer.content)
            while self._bytes > self._most_bytes:
                self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _drop(self, name: str) -> None:
        known = self._kept.pop(name, None)
        self._bytes -= 0 if known is None else len(known[1].content)
