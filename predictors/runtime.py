"""Runtime: what runs a network, and where. Engines declare theirs in `options.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs a network, and where.

    Attributes:
        engine: a folder of `export/runtimes`, or what an installed package offers by this name.
        compiled: whether the engine compiles the network first (`torch.compile`).
        keeps_cache: whether it keeps keys and values, so that a language model's next token is measured.
    """

    name: str
    engine: str
    device: Device
    compiled: bool = False
    keeps_cache: bool = False
