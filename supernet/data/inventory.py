"""Inventory: what a source found when its data were read, and what it made of it. No torch.

A person who believes a number must be able to see what it was obtained on: which files were used and which were left
out, why, which columns were taken, and where every split comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# Names that are listed of what was left out; the rest is counted.
NAMED = 5
BEYOND_LIMIT = "beyond data.limit"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files or rows that are not used, for one reason.

    Attributes:
        why: in words that follow "3 files: ".
        some: names of the first few.
    """

    why: str
    count: int
    some: tuple[str, ...] = ()

    def __str__(self) -> str:
        listed = ", ".join(self.some) + (", ..." if self.count > len(self.some) else "")
        return f"{self.count:,} ({self.why})" + (f": {listed}" if self.some else "")


def left_out(found: Iterable[tuple[str, str]]) -> tuple[LeftOut, ...]:
    """Reason and name of everything that is left out, grouped by the reason, in the order of the first of each."""
    groups: dict[str, list[str]] = {}
    for why, name in found:
        groups.setdefault(why, []).append(name)
    return tuple(
        LeftOut(why, len(names), tuple(name for name in names[:NAMED] if name)) for why, names in groups.items()
    )


@dataclass(frozen=True, slots=True)
class Inventory:
    """What was read.

    Attributes:
        unit: what is counted: `files` or `rows`; for language models `documents`.
        seen: all of them; `used` and what is left out together.
        columns: columns of a table, by their role.
        splits: where `train`, `validation` and `test` come from, in words.
        remarks: what else to know, such as pictures whose first frame alone is used.
    """

    unit: str
    seen: int
    left_out: tuple[LeftOut, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def used(self) -> int:
        """How many are in a split."""
        return self.seen - sum(group.count for group in self.left_out)
