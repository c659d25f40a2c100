"""The gate before every row: numbers and text that PostgreSQL cannot hold, as they are stored.

JSON has no word for a number that is not finite, and PostgreSQL's text no NUL and no lone surrogate. A score that is
NaN or infinite is stored as null, wherever it stands; such a character, as in the name of a file that is no UTF-8, as
U+FFFD.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator

UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(value: Any) -> Any:
    """A value of JSON with null for every number that is not finite, and U+FFFD for characters that no row holds."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, Mapping):
        return {storable(key): storable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(inner) for inner in value]
    return value


def to_json(value: Any) -> str:
    """JSON as every column of it is written (`Database`)."""
    return json.dumps(storable(value), allow_nan=False)


class Words(TypeDecorator[str]):
    """Text that a process writes, such as the end of a log."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """See `storable`."""
        return None if value is None else str(storable(value))
