"""A miniature of the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from supernet.data.examples import picture

COLOURS = ("red", "green", "blue")


def write(folder: Path) -> dict[str, Any]:
    """Thirty images of three colours with two questions each: which colour it is, and whether it is this one."""
    lines = []
    for number in range(30):
        colour = number % 3
        name, asked = f"{number}.png", COLOURS[(number // 3) % 3]
        picture(colour, number, (20, 20 + number % 5)).save(folder / name)
        answer = "yes" if asked == COLOURS[colour] else "no"
        lines.append({"file_name": name, "text": "a picture is", "label": COLOURS[colour]})
        lines.append({"file_name": name, "text": f"is a picture {asked}", "label": answer})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return {"path": str(folder), "size": 16, "length": 32, "validation_share": 0.2, "test_share": 0.2}
