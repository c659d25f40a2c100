"""Spans of time as the database adds them to its clock."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import ColumnElement, func


def interval(seconds: float | ColumnElement[float]) -> ColumnElement[timedelta]:
    """So many seconds, to be added to a time of the database or taken from it."""
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)
