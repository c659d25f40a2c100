"""Contracts of plug-ins, as pytest classes: one line tests a plug-in of yours as Winnow's own are tested.

    from winnow.testing import AlgorithmContract

    class TestHillClimb(AlgorithmContract):
        name = "hill_climb"

Needs pytest, and what workers need (`pip install winnow[worker]`).
"""

from __future__ import annotations

import pytest

# Before they are imported, so that a failing assertion shows its values.
_ROOMS = ("algorithms", "contract", "families", "formats", "methods", "runtimes", "sources")
pytest.register_assert_rewrite(*(f"{__name__}.{room}" for room in _ROOMS))

from winnow.testing.algorithms import AlgorithmContract  # noqa: E402
from winnow.testing.families import FamilyContract  # noqa: E402
from winnow.testing.formats import FormatContract  # noqa: E402
from winnow.testing.methods import MethodContract  # noqa: E402
from winnow.testing.runtimes import RuntimeContract  # noqa: E402
from winnow.testing.sources import SourceContract  # noqa: E402

__all__ = [
    "AlgorithmContract",
    "FamilyContract",
    "FormatContract",
    "MethodContract",
    "RuntimeContract",
    "SourceContract",
]
