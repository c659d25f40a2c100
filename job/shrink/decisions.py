"""Decisions: what was decided for somebody, why, and how to say otherwise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing that nobody asked for and that the job needs.

    Attributes:
        what: in a word or two.
        value: as people read it.
        why: a clause.
        change: the part of a job that says otherwise, such as `training.epochs`.
    """

    what: str
    value: str
    why: str
    change: str


class Undecided(ValueError):
    """The folders leave a question open; the message asks it."""
