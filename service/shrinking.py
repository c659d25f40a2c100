"""What everybody who asks for a shrink says in the same way: the command line and Python."""

from __future__ import annotations

from pathlib import Path


def where(named: str | Path) -> str:
    """A path as API and workers see it; a name stays one."""
    path = Path(named).expanduser()
    is_path = isinstance(named, Path) or named.startswith((".", "~", "/")) or path.exists()
    return str(path.resolve()) if is_path else str(named)
