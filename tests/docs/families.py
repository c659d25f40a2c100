"""The files of docs/add-a-family.md, as a reader would have them."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "add-a-family.md"


def documented_files() -> dict[str, str]:
    """Name -> content of every file that the page shows."""
    return dict(re.findall(r'```python title="(\S+)"\n(.*?)```', PAGE.read_text(), re.DOTALL))


def write_documented_family(folder: Path) -> Path:
    """A families folder with the page's family in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "residual.py").write_text(documented_files()["residual.py"])
    return folder


def with_own_module(source: str) -> str:
    """The family with its residual block imported from the page's `_mine.py` instead of defined in it."""
    start, end = source.index("    class Residual(nn.Module)"), source.index("    class Classify(nn.Module)")
    return source[:start] + "    from _mine import Residual\n\n" + source[end:]
