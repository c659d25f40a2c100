"""The blocks of a space: choices that shape layers together, and no other layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search_space.architecture import Architecture, Option
from search_space.distinct import dependencies
from search_space.encoding import all_genes, gene_matrix
from search_space.space import Choice, SearchSpace

# More alternatives of one block than this are not scored one by one.
MOST_ALTERNATIVES = 1024
# Random networks around which it is looked which layers hang on which choices.
BASES = 2


@dataclass(frozen=True)
class Block:
    """Choices that are made together, with all their combinations.

    Attributes:
        name: name of the layers that they shape, or of the first choice where a space has no layers.
        choices: positions among the space's choices, rising.
        alternatives: genes of these choices, shape (num_alternatives, num_choices), canonical.
        largest: the alternative of the largest network.
    """

    name: str
    choices: tuple[int, ...]
    alternatives: np.ndarray
    largest: int


class Blocks:
    """A space as blocks that do not depend on one another.

    A choice that hangs on another (`when`) is of its block, and so are choices that shape the same layer. So whatever
    is a sum over layers is a sum over blocks, exactly.

    Raises:
        ValueError: a block has too many alternatives to score each; says which choices are tied together, and by what.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        groups, slots = _groups(space)
        self.blocks = tuple(made for choices in groups if len((made := _block(space, choices, slots)).alternatives) > 1)

    @cached_property
    def num_alternatives(self) -> int:
        """Networks to score: the largest, and it with every other alternative of every block."""
        return 1 + sum(len(block.alternatives) - 1 for block in self.blocks)

    @property
    def largest(self) -> tuple[int, ...]:
        """The largest network, as an alternative of each block."""
        return tuple(block.largest for block in self.blocks)

    def singles(self) -> list[tuple[int, ...]]:
        """The largest network, then it with every other alternative of every block."""
        found = [self.largest]
        for place, block in enumerate(self.blocks):
            for other in range(len(block.alternatives)):
                if other != block.largest:
                    found.append((*self.largest[:place], other, *self.largest[place + 1 :]))
        return found

    def architecture(self, network: Sequence[int]) -> Architecture:
        """The architecture with these alternatives, one for each block."""
        genes = np.array(self.space.largest().genes)
        for block, alternative in zip(self.blocks, network, strict=True):
            genes[list(block.choices)] = block.alternatives[alternative]
        return self.space.from_genes(genes)

    def networks(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """The alternatives of architectures, shape (num_architectures, num_blocks), int."""
        genes = gene_matrix(self.space, architectures)
        found = np.zeros((len(genes), len(self.blocks)), dtype=int)
        for place, (block, known) in enumerate(zip(self.blocks, self._places, strict=True)):
            own = genes[:, list(block.choices)]
            found[:, place] = [known[tuple(row)] for row in own.tolist()]
        return found

    @cached_property
    def _places(self) -> list[dict[tuple[int, ...], int]]:
        return [{tuple(row): i for i, row in enumerate(block.alternatives.tolist())} for block in self.blocks]

    def features(self, place: int) -> list[np.ndarray]:
        """Sets of a block's alternatives that may interact with others, each of shape (num_alternatives,), bool.

        For every choice: where it is below the largest network's, and where it is at its first option or absent.
        """
        block = self.blocks[place]
        found: dict[bytes, np.ndarray] = {}
        for column in block.alternatives.T:
            for chosen in (column < column[block.largest], column == column.min()):
                if chosen.any() and not chosen[block.largest]:
                    found.setdefault(chosen.tobytes(), chosen)
        return list(found.values())

    def values(self, place: int) -> list[dict[str, Option]]:
        """What each alternative of a block says: choice -> option."""
        block = self.blocks[place]
        choices = [self.space.choices[position] for position in block.choices]
        return [
            {choice.name: choice.options[gene] for choice, gene in zip(choices, row, strict=True)}
            for row in block.alternatives.tolist()
        ]


def _groups(space: SearchSpace) -> tuple[list[list[int]], dict[str, set[int]]]:
    """Positions of choices that are made together, in order; and which choices every layer hangs on."""
    position = {choice.name: place for place, choice in enumerate(space.choices)}
    leader = list(range(len(space.choices)))

    def find(place: int) -> int:
        while leader[place] != place:
            place = leader[place]
        return place

    def join(places: Sequence[int]) -> None:
        first = min(map(find, places))
        for place in places:
            leader[find(place)] = first

    for place, choice in enumerate(space.choices):
        if choice.when is not None:
            join([position[choice.when[0]], place])
    slots: dict[str, set[int]] = {}
    if space.has_layers:
        rng = np.random.default_rng(0)
        bases = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(BASES))]
        found = dependencies(space, bases)
        slots = {slot: found[slot] for slot in space.capacity() if slot in found} | found
        for choices in slots.values():
            if choices:
                join(sorted(choices))
    groups: dict[int, list[int]] = {}
    for place in range(len(space.choices)):
        groups.setdefault(find(place), []).append(place)
    return list(groups.values()), slots


def _block(space: SearchSpace, choices: list[int], slots: dict[str, set[int]]) -> Block:
    own = [space.choices[place] for place in choices]
    shaped = [slot for slot, hangs in slots.items() if hangs & set(choices)]
    name = own[0].name if not shaped else shaped[0] if len(shaped) == 1 else f"{shaped[0]} to {shaped[-1]}"
    small = SearchSpace(name, [Choice(one.name, one.options, one.when) for one in own])
    if small.size() > MOST_ALTERNATIVES:
        named = ", ".join(one.name for one in own[:4]) + (", ..." if len(own) > 4 else "")
        shared = f" shape {name} together" if shaped else " hang on one another"
        raise ValueError(
            f"Search algorithm 'blocks' scores every alternative of every block, and {len(own)} choices of "
            f"{space.name!r} ({named}){shared}: {small.size()} alternatives, of at most {MOST_ALTERNATIVES}. Give "
            f"what ties them a single option, such as {own[0].name}: [{own[0].options[-1]!r}], or take 'winnow'."
        )
    alternatives = all_genes(small)
    largest = np.array(space.largest().genes)[choices]
    return Block(name, tuple(choices), alternatives, int(np.flatnonzero((alternatives == largest).all(axis=1))[0]))
