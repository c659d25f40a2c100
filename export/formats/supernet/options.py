"""What the export format `supernet` is, and which networks can have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from job.formats import Subject

MEANING = (
    "The whole supernet and its front: `load.py --under latency_ms=5` gives the best network, as slices of one file."
)

WHEN_ASKED = True

LOADS = """
python supernet/load.py --under latency_ms=5
# or in Python, with supernet/ on the path
from load import load
model = load(under={"latency_ms": 5})
"""


def refusal(subject: Subject) -> str | None:
    """Why a network cannot have it; None: it can."""
    if subject.quantized:
        return "its weights are integers of a policy, and networks of a supernet share floating-point weights"
    reason: str | None = subject.facts.get("without_supernet")
    return reason
