"""Cursors: places in lists, signed, so that none is taken but those that this installation gave."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from service.api.storable_requests import unstorable
from service.errors import InvalidRequest

BENT = "The cursor is not one that this API gave; leave it out for the first page."
# PostgreSQL's largest `bigint`, which counts rows.
LARGEST = 2**63 - 1
# Bytes of the signature: enough that nobody finds one by trying.
SIGNATURE_BYTES = 12
# The secret of the installation, of whatever request is answered now.
SECRET: ContextVar[bytes] = ContextVar("secret of cursors", default=b"")


def make_cursor(*parts: Any) -> str:
    """An opaque, signed cursor."""
    said = json.dumps(parts).encode()
    return base64.urlsafe_b64encode(_signature(said) + said).decode().rstrip("=")


def _signature(said: bytes) -> bytes:
    return hmac.new(SECRET.get(), b"cursor " + said, hashlib.sha256).digest()[:SIGNATURE_BYTES]


def read_cursor(cursor: str, *kinds: type) -> list[Any]:
    """The parts of a cursor.

    Args:
        kinds: kinds of its parts: `int` (a position from 0) or `str`.

    Raises:
        InvalidRequest: it is not one that `make_cursor` made.
    """
    try:
        read = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        signed, said = read[:SIGNATURE_BYTES], read[SIGNATURE_BYTES:]
        parts = json.loads(said) if hmac.compare_digest(signed, _signature(said)) else None
    except (binascii.Error, ValueError, RecursionError):
        parts = None
    if not isinstance(parts, list) or [type(part) for part in parts] != list(kinds) or not all(map(_plain, parts)):
        raise InvalidRequest(BENT)
    return parts


def read_moment(cursor: str) -> tuple[datetime, str]:
    """A cursor of a moment and an id.

    Raises:
        InvalidRequest: it is not one that `make_cursor` made.
    """
    moment, row_id = read_cursor(cursor, str, str)
    try:
        return datetime.fromisoformat(moment), row_id
    except ValueError:
        raise InvalidRequest(BENT) from None


def _plain(part: Any) -> bool:
    """Whether a part of a cursor is one that a query can ask for."""
    return unstorable(part) is None if isinstance(part, str) else 0 <= part <= LARGEST
