"""A miniature of the data, for Winnow's contract tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write(folder: Path) -> dict[str, Any]:
    """Words that read it; it needs no file."""
    return {"directions": 3, "count": 12}
