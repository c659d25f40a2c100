"""A short digest of a checkpoint's shape, for the names of spaces: equal shapes, equal ids."""

from __future__ import annotations

import hashlib


def digest(shape: object) -> str:
    """Eight hexadecimal digits of a frozen dataclass of numbers and words."""
    return hashlib.sha256(repr(shape).encode()).hexdigest()[:8]
