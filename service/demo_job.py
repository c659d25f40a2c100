"""The job of the demo: on the command line and behind the dashboard's button."""

from __future__ import annotations

from typing import Any

DEMO_JOB: dict[str, Any] = {
    "name": "demo: handwritten digits",
    "recipe": "bignas",
    "training": {"epochs": 20, "seed": 1},
    "search": {"evaluations": 210},
}
