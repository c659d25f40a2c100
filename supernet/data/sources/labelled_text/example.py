"""A miniature of the data."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any


def write(folder: Path) -> dict[str, Any]:
    """Tab-separated, with a test file; quotes are letters."""
    lines = [f'"film {i} is {"good" if i % 2 else "bad"}\t{i % 2}' for i in range(40)]
    (folder / "train.tsv").write_text("\n".join(lines))
    (folder / "test.tsv.gz").write_bytes(gzip.compress(b"good\t1\nbad\t0\n"))
    return {"path": str(folder), "length": 16, "validation_share": 0.2}
