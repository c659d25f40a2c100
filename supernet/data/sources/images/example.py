"""A miniature of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from supernet.data.examples import picture


def write(folder: Path) -> dict[str, Any]:
    """Three classes of ten images; sizes differ."""
    for label in range(3):
        (folder / f"colour{label}").mkdir()
        for i in range(10):
            picture(label, i, (24 + i, 20)).save(folder / f"colour{label}" / f"{i}.png")
    return {"path": str(folder), "size": 16, "validation_share": 0.25}
