"""Vocabularies: which token has which number, as a checkpoint's folder says it, read without a tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_space.checkpoint import MAX_JSON_BYTES, CheckpointError

# What of tokenizer.json decides which tokens a text becomes.
DECIDING = ("normalizer", "pre_tokenizer", "model", "added_tokens")
# Files with a vocabulary, the most telling first.
FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model")


def vocabularies(folder: Path) -> dict[str, str]:
    """File -> digest of what it says, for every file of a tokenizer that is there.

    How texts are cut or filled up, which differs from copy to copy, is left out.

    Raises:
        CheckpointError: a file is damaged.
    """
    return {name: _digest(folder / name) for name in FILES if (folder / name).is_file()}


def differ(one: Mapping[str, str], other: Mapping[str, str]) -> str | None:
    """The file in which two tokenizers differ, or a sentence that they cannot be compared; None: they are the same, or
    a folder has none."""
    if not one or not other:
        return None
    common = [name for name in FILES if name in one and name in other]
    if not common:
        return f"one has {next(iter(one))} and the other {next(iter(other))}, which cannot be compared"
    wrong = [name for name in common if one[name] != other[name]]
    return f"their {wrong[0]} differs" if wrong else None


def _digest(path: Path) -> str:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise CheckpointError(f"{path} has more than {MAX_JSON_BYTES:,} bytes, which no tokenizer's does.")
    content = path.read_bytes()
    if path.suffix == ".json":
        try:
            given: Any = json.loads(content)
        except ValueError as error:
            raise CheckpointError(f"{path} is not readable JSON: {error}.") from None
        if path.name == "tokenizer.json" and isinstance(given, dict):
            given = {key: given.get(key) for key in DECIDING}
        content = json.dumps(given, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()
