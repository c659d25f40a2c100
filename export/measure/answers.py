"""What a measuring process answers, one JSON object a line (see `child.py`)."""

from __future__ import annotations

from typing import TypedDict

from predictors.readings import RuntimeFacts


class LoadedNetwork(TypedDict):
    """A network is ready: the handle to ask for it by, its phases, and what stands beside its numbers."""

    handle: int
    phases: list[str]
    facts: RuntimeFacts


class Warm(TypedDict):
    """It was run until its time was stable; bytes that it takes by now."""

    runs: int
    memory_bytes: int


class Timed(TypedDict):
    """Times of single runs, and during which of them the system took the processor away."""

    times_ms: list[float]
    preempted: list[bool]


class Energy(TypedDict):
    """Energy of one run; null without a counter."""

    energy_mj: float | None


class Unloaded(TypedDict):
    """It is gone."""


Answer = LoadedNetwork | Warm | Timed | Energy | Unloaded
