"""What tests of decoded image sets look at."""

from __future__ import annotations

from pathlib import Path

import torch

from supernet.data import Dataset, Decoding


def sets_in(decoding: Decoding) -> list[Path]:
    """Every folder of a set or of a draft."""
    assert decoding.folder is not None
    return sorted(path for path in decoding.folder.glob("*") if path.is_dir()) if decoding.folder.is_dir() else []


def same(first: Dataset, second: Dataset) -> None:
    """Both give the same splits, to the bit."""
    assert first.preprocessing == second.preprocessing
    assert first.notes == second.notes
    assert first.gives == second.gives
    for name, split in first.splits.items():
        other = second.splits[name]
        assert torch.equal(split.stored[:], other.stored[:]), name
        assert torch.equal(split.y, other.y), name
        assert split.standardisation == other.standardisation
