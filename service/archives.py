"""Archives of exports as they lie on the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def folder_name(job_id: str, architecture_id: str, formats: Sequence[str], weights: str = "unhealed") -> str:
    """Name of an export's folder: by job and network, by its formats where some were named, and whether its weights
    were healed."""
    return "-".join([job_id, architecture_id, *(["healed"] if weights == "healed" else []), *formats])


def archive_name(export: Mapping[str, Any]) -> str:
    """Name of an export's archive, from what the API says of it."""
    weights = export.get("weights") or "unhealed"
    return folder_name(export["job_id"], export["architecture_id"], export.get("formats") or (), weights) + ".tar.gz"


def wrong_with(path: Path, sha256: str | None) -> str | None:
    """What is wrong with an archive, in words that follow its name; None where it is what was written."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return f"is gone from {path}"
    return None if sha256 is None or found == sha256 else f"is damaged: the sha256 of {path} is not what was written"
