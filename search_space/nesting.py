"""Nesting: the sub-models of a space that are prefixes of one another, as SortedNet trains them.

SortedNet (arXiv 2309.00255) truncates each chosen dimension of a network to its first units. A space has
one choice per stage or layer; here the choices of one dimension move together, so that a sub-model is given
by one level per dimension, and one that is lower in every dimension is contained in the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from search_space.architecture import Architecture
from search_space.space import Choice, SearchSpace

# Choices whose smaller options are no prefix of the larger ones' units: they stay at their largest.
NOT_PREFIXES = ("kernel", "resolution", "activation", "patch")
# Choices of how many blocks or layers there are, or whether one is.
DEPTHS = ("depth", "layers", "keep")
DIMENSIONS = ("width", "depth", "width_depth")


def dimension_of(choice: Choice) -> str | None:
    """`depth`, `width` (of channels, heads, hidden units) or None for what is not truncated."""
    if any(word in choice.name for word in NOT_PREFIXES):
        return None
    return "depth" if any(word in choice.name for word in DEPTHS) else "width"


@dataclass(frozen=True)
class Nesting:
    """The nested sub-models of a space.

    Attributes:
        dimensions: one of `DIMENSIONS`; what is not named stays at its largest.

    Raises:
        ValueError: the space has nothing to truncate there.
    """

    space: SearchSpace
    dimensions: str = "width_depth"

    def __post_init__(self) -> None:
        if self.dimensions not in DIMENSIONS:
            raise ValueError(f"Got dimensions {self.dimensions!r}; they are {', '.join(DIMENSIONS)}.")
        for dimension, ladder in zip(self.names, self.ladders, strict=True):
            if len(ladder) < 2 and len(self.names) == 1:
                raise ValueError(f"{self.space!r} has no choice of {dimension} with two options, so nothing to nest.")

    @property
    def names(self) -> tuple[str, ...]:
        """The dimensions by name."""
        return tuple(self.dimensions.split("_"))

    @cached_property
    def ladders(self) -> tuple[tuple[dict[int, int], ...], ...]:
        """Per dimension its levels, lowest first; a level gives genes by the position of their choice."""
        return tuple(self._ladder(name) for name in self.names)

    def _ladder(self, dimension: str) -> tuple[dict[int, int], ...]:
        counts = {
            position: len(choice.options)
            for position, choice in enumerate(self.space.choices)
            if dimension_of(choice) == dimension
        }
        if dimension == "width":
            levels = max(counts.values(), default=1)
            return tuple(
                {position: round(level * (count - 1) / max(1, levels - 1)) for position, count in counts.items()}
                for level in range(levels)
            )
        # One more block at a time, in the stage that is relatively the shallowest.
        rises = sorted((step / (count - 1), position) for position, count in counts.items() for step in range(1, count))
        ladder = [dict.fromkeys(counts, 0)]
        for _, position in rises:
            ladder.append({**ladder[-1], position: ladder[-1][position] + 1})
        return tuple(ladder)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of levels of each dimension."""
        return tuple(len(ladder) for ladder in self.ladders)

    def architecture(self, *levels: int) -> Architecture:
        """The sub-model with these levels, one per dimension, counted from 0."""
        # Not those of `largest()`: its inactive choices are at their first option.
        genes = [len(choice.options) - 1 for choice in self.space.choices]
        for ladder, level in zip(self.ladders, levels, strict=True):
            for position, gene in ladder[level].items():
                genes[position] = gene
        return self.space.from_genes(genes)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A sub-model whose level in every dimension is uniform and independent."""
        return self.architecture(*(int(rng.integers(levels)) for levels in self.shape))

    def smallest(self) -> Architecture:
        """The sub-model that all others contain."""
        return self.architecture(*(0 for _ in self.shape))

    def all(self) -> list[Architecture]:
        """Every sub-model once, the smallest first and the full model last."""
        found = (self.architecture(*levels) for levels in product(*(range(count) for count in self.shape)))
        return list({architecture.id: architecture for architecture in found}.values())
