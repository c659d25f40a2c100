"""A miniature of the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write(folder: Path) -> dict[str, Any]:
    """Sums as questions; bytes need a template."""
    rows = [{"question": f"{i} + {i}?", "answer": str(2 * i)} for i in range(40)]
    (folder / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = {"answer": "answer", "template": "Q: {question} A: "}
    return {"path": str(folder / "sums.jsonl"), "length": 24, "validation_share": 0.2, "test_share": 0.2, **words}
