"""Archives of exports as they lie on the disk."""

from __future__ import annotations

import hashlib
from pathlib import Path


def wrong_with(path: Path, sha256: str | None) -> str | None:
    """What is wrong with an archive, in words that follow its name; None where it is what was written."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return f"is gone from {path}"
    return None if sha256 is None or found == sha256 else f"is damaged: the sha256 of {path} is not what was written"
