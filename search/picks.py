"""The ways to choose one network of a front, as words. What they mean is in `choice`; this loads nothing."""

from __future__ import annotations

from typing import Literal

Pick = Literal["knee", "most_accurate", "as_good"]
