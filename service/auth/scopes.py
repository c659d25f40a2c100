"""Scopes of keys."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """What a key may do; each includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
