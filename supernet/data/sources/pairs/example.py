"""A miniature of the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from supernet.data.examples import picture

COLOURS = ("red", "green", "blue")


def write(folder: Path) -> dict[str, Any]:
    """Thirty images of three colours, with two texts each, and a table of them."""
    lines = []
    for number in range(30):
        label = number % 3
        name = f"{number}.png"
        picture(label, number, (20, 20 + number % 5)).save(folder / name)
        colour = COLOURS[label]
        texts = [f"a {colour} picture, number {number}", f"picture {number} is {colour}"]
        lines.append(json.dumps({"file_name": name, "text": texts, "class": colour}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return {
        "path": str(folder),
        "size": 16,
        "length": 32,
        "label": "class",
        "templates": "a {} picture\na photo, {}",
        "validation_share": 0.2,
        "test_share": 0.2,
    }
