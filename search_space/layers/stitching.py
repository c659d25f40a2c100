"""Stitching layers: where a network of one width goes on in a network of another (arXiv 2302.06586, 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from search_space.layers.base import LayerSpec, Part, linear_part
from search_space.layers.stack import Shape


@dataclass(frozen=True)
class StitchSpec(LayerSpec):
    """A linear layer from the hidden states of one network to those of another, at every position.

    Attributes:
        embed, out: widths of the two.
        tokens: positions.
    """

    kind: ClassVar[str] = "stitch"
    fixed: ClassVar[frozenset[str]] = frozenset({"embed", "out"})
    free: ClassVar[frozenset[str]] = frozenset({"tokens"})

    embed: int
    out: int
    tokens: int

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        return {"linear.weight": (self.out, self.embed), "linear.bias": (self.out,)}

    def parts(self) -> dict[str, Part]:
        return {"linear": linear_part(self.embed, self.out, tokens=self.tokens)}
