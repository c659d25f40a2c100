"""A miniature of the data."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any


def write(folder: Path) -> dict[str, Any]:
    """One compressed file."""
    (folder / "play.txt.gz").write_bytes(gzip.compress(b"To be, or not to be: that is the question.\n" * 50))
    return {"path": str(folder / "play.txt.gz"), "length": 16}
