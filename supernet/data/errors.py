"""What a source raises."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used; the message is for the user."""
