"""SearchSpace: the choices of a family, and the blueprint that turns values into layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeAlias

import numpy as np

from search_space.architecture import Architecture, IdWriter, Option
from search_space.inputs import Input
from search_space.layers import LayerSpec
from search_space.sampling import COSTS, BinnedSampler

# Networks whose layers are remembered: of one candidate a search asks for its price, its size and its columns in turn,
# and for each of thousands together.
REMEMBERED = 1 << 12

Values: TypeAlias = Mapping[str, Option]
Blueprint: TypeAlias = Callable[[Values], dict[str, LayerSpec]]


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision with its options, smallest first.

    Attributes:
        name: unique in its space, a Python identifier such as `stage2_depth`.
        options: the values that can be chosen, in rising order of size.
        when: (name of an earlier choice, the values of it under which this one matters), or None
            for a choice that always matters. Under any other value this choice is *inactive*: the
            network does not depend on it.
        decides: what it decides, such as `bits`, where many choices decide the same in different places: networks
            in which they agree, or agree along a stretch, are then tried more often than chance would.
    """

    name: str
    options: tuple[Option, ...]
    when: tuple[str, tuple[Option, ...]] | None = None
    decides: str = ""

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError(f"Choice {self.name!r} has no options; give at least one.")
        if len(set(self.options)) != len(self.options):
            raise ValueError(f"Choice {self.name!r} lists an option twice: {self.options}.")


class SearchSpace:
    """All architectures that a family can express.

    Args:
        name: appears in every architecture's id, so spaces of one family and preset share a name.
        choices: in a fixed order; a choice's `when` may name only choices before it.
        blueprint: from values to `slot -> LayerSpec` in forward order. None is legal: a tabular
            benchmark has choices and scores, but no layers.
        capacity: `slot -> LayerSpec` with, for every slot, a spec that every architecture's spec
            fits in. None: the largest architecture's layers are that.
        takes: what its networks eat and answer; None for a space without layers.

    Raises:
        ValueError: two choices share a name, or `when` names an unknown choice or option.
    """

    # The type of its architectures; a kind of space whose networks are told from others has one of its own.
    makes: ClassVar[type[Architecture]] = Architecture
    # Of a number that nothing quantizes: 16 where the space is of a checkpoint of 16-bit floats.
    float_bits = 32
    # Texts that are continued at once, and their tokens, for which the cache of keys and values is counted; None: those
    # for which costs are.
    cache_batch = 1
    cache_tokens: int | None = None

    def __init__(
        self,
        name: str,
        choices: tuple[Choice, ...] | list[Choice],
        blueprint: Blueprint | None = None,
        capacity: Callable[[], dict[str, LayerSpec]] | None = None,
        takes: Input | None = None,
    ) -> None:
        self.name = name
        self.takes = takes
        self.choices = tuple(choices)
        self._blueprint = blueprint
        self._capacity = capacity
        self._binned: dict[str, BinnedSampler] = {}
        self._position = {choice.name: i for i, choice in enumerate(self.choices)}
        if not self.choices:
            raise ValueError(f"Space {name!r} has no choices; give at least one.")
        if len(self._position) != len(self.choices):
            raise ValueError(f"Space {name!r} has two choices of one name: {[c.name for c in self.choices]}.")
        self._index = [{option: i for i, option in enumerate(choice.options)} for choice in self.choices]
        # For each choice: (position of the choice it hangs on, the option indices that make it matter).
        self._parents = [self._parent_of(i, choice) for i, choice in enumerate(self.choices)]
        self._dependent = [(i, parent) for i, parent in enumerate(self._parents) if parent is not None]
        # For each choice: its name with each of its options.
        self._items = [tuple((choice.name, option) for option in choice.options) for choice in self.choices]
        self._ids = IdWriter(name, [(choice.name, choice.options) for choice in self.choices])
        together: dict[tuple[str, tuple[Option, ...]], list[int]] = {}
        for i, choice in enumerate(self.choices):
            if choice.decides:
                together.setdefault((choice.decides, choice.options), []).append(i)
        # Positions of choices that decide the same in different places, in forward order.
        self.alike = tuple(np.array(group) for group in together.values() if len(group) > 1)
        self._described: dict[str, dict[str, LayerSpec]] = {}

    def _parent_of(self, position: int, choice: Choice) -> tuple[int, frozenset[int]] | None:
        if choice.when is None:
            return None
        parent, values = choice.when
        at = self._position.get(parent, position)
        if at >= position:
            raise ValueError(f"Choice {choice.name!r} depends on {parent!r}, which is not an earlier choice.")
        unknown = [value for value in values if value not in self._index[at]]
        if unknown or not values:
            raise ValueError(
                f"Choice {choice.name!r} depends on {parent!r} being one of {values}, "
                f"but its options are {self.choices[at].options}."
            )
        return at, frozenset(self._index[at][value] for value in values)

    # --- making architectures -------------------------------------------------------------------

    def architecture(self, **values: Option) -> Architecture:
        """The architecture with these values, one for every active choice.

        Values of inactive choices may be left out and are ignored.

        Raises:
            ValueError: an unknown choice, a value that is not an option, or a missing active choice.
        """
        unknown = sorted(set(values) - set(self._position))
        if unknown:
            raise ValueError(
                f"Space {self.name!r} has no choice {unknown[0]!r}. Its choices: {', '.join(self._position)}."
            )
        genes = [0] * len(self.choices)
        for i, choice in enumerate(self.choices):
            if choice.name in values:
                value = values[choice.name]
                if value not in choice.options:
                    raise ValueError(f"{value!r} is not an option of {choice.name!r}; options: {choice.options}.")
                genes[i] = self._index[i][value]
            elif self._is_active(i, genes):
                raise ValueError(f"Choice {choice.name!r} has no value; options: {choice.options}.")
        return self.from_genes(genes)

    def from_genes(self, genes: list[int] | tuple[int, ...] | np.ndarray) -> Architecture:
        """The architecture whose values are the options at these indices, in canonical form.

        Raises:
            ValueError: wrong number of genes, or an index outside its choice's options.
        """
        if len(genes) != len(self.choices):
            raise ValueError(f"Got {len(genes)} genes; space {self.name!r} has {len(self.choices)} choices.")
        canonical = np.asarray(genes).astype(np.int64, copy=False).tolist()
        for gene, choice, known in zip(canonical, self.choices, self._items, strict=True):
            if not 0 <= gene < len(known):
                raise ValueError(f"Gene {gene} of {choice.name!r} is not in 0..{len(known) - 1}.")
        active = [True] * len(canonical)
        for i, (at, indices) in self._dependent:
            if not (active[at] and canonical[at] in indices):
                active[i], canonical[i] = False, 0
        items = tuple([known[gene] for known, gene in zip(self._items, canonical, strict=True)])
        return self.makes(self.name, items, tuple(canonical), self._ids.write(canonical, active))

    def __contains__(self, architecture: Architecture) -> bool:
        """Whether the architecture is of this space, or of another one of the same family, preset and name."""
        return architecture.space == self.name

    def canonical(self, values: Values) -> dict[str, Option]:
        """The same network's values in the one form that all its descriptions share."""
        return self.architecture(**values).values

    def _is_active(self, position: int, genes: list[int] | tuple[int, ...]) -> bool:
        parent = self._parents[position]
        while parent is not None:
            at, indices = parent
            if genes[at] not in indices:
                return False
            parent = self._parents[at]
        return True

    def is_active(self, architecture: Architecture) -> tuple[bool, ...]:
        """For each choice, whether the network depends on it."""
        return tuple(self._is_active(i, architecture.genes) for i in range(len(self.choices)))

    def smallest(self) -> Architecture:
        """First option everywhere."""
        return self.from_genes([0] * len(self.choices))

    def largest(self) -> Architecture:
        """Last option everywhere."""
        return self.from_genes([len(choice.options) - 1 for choice in self.choices])

    # --- moving in the space --------------------------------------------------------------------

    @cached_property
    def option_counts(self) -> np.ndarray:
        """Number of options of each choice, shape (num_choices,), int64."""
        return np.array([len(choice.options) for choice in self.choices], dtype=np.int64)

    def sample(self, rng: np.random.Generator, over: str = "genes") -> Architecture:
        """A random architecture.

        Args:
            over: what is uniform: `genes` (every option of a choice is as likely), `params` or `macs`. The range of
                the last two, from the smallest to the largest network, is cut into equal bins, so that small and
                large networks are both seen.

        Raises:
            ValueError: no such way of sampling.
        """
        if over == "genes":
            return self.from_genes(rng.integers(0, self.option_counts))
        if over not in COSTS:
            raise ValueError(f"Cannot sample uniformly over {over!r}. Known: genes, {', '.join(COSTS)}.")
        if over not in self._binned:
            self._binned[over] = BinnedSampler(self, over)
        return self._binned[over].sample(rng)

    def mutate(self, architecture: Architecture, rng: np.random.Generator, probability: float) -> Architecture:
        """A copy in which every choice took another of its options with this probability.

        The probability means what it says: a mutated gene never keeps its value (choices with one
        option cannot mutate), and each gene is drawn whether or not it is active.
        """
        counts = self.option_counts
        genes = np.array(architecture.genes)
        moves = (rng.random(len(genes)) < probability) & (counts > 1)
        shift = rng.integers(1, np.maximum(counts, 2))
        genes[moves] = (genes[moves] + shift[moves]) % counts[moves]
        return self.from_genes(genes)

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        """Uniform crossover: every gene from either parent with probability one half."""
        mask = rng.random(len(self.choices)) < 0.5
        return self.from_genes(np.where(mask, first.genes, second.genes))

    def size(self) -> int:
        """Exact number of distinct networks: inactive choices are not counted.

        Choices hang on one another as trees, so the count is a product over roots of the sum, over a
        choice's options, of the counts of the choices that each option brings to life.
        """
        children: list[list[int]] = [[] for _ in self.choices]
        for i, parent in enumerate(self._parents):
            if parent is not None:
                children[parent[0]].append(i)

        def count(position: int) -> int:
            total = 0
            for option in range(len(self.choices[position].options)):
                ways = 1
                for child in children[position]:
                    parent = self._parents[child]
                    assert parent is not None
                    ways *= count(child) if option in parent[1] else 1
                total += ways
            return total

        product = 1
        for i, parent in enumerate(self._parents):
            product *= count(i) if parent is None else 1
        return product

    def every(self) -> Iterator[Architecture]:
        """Every distinct network, once: `size()` of them."""
        genes = [0] * len(self.choices)

        def walk(position: int) -> Iterator[Architecture]:
            if position == len(genes):
                yield self.from_genes(genes)
                return
            active = self._is_active(position, genes)
            for gene in range(len(self.choices[position].options) if active else 1):
                genes[position] = gene
                yield from walk(position + 1)
            genes[position] = 0

        yield from walk(0)

    # --- layers ---------------------------------------------------------------------------------

    @property
    def has_layers(self) -> bool:
        """Whether the space has a blueprint."""
        return self._blueprint is not None

    def layers(self, architecture: Architecture) -> dict[str, LayerSpec]:
        """`slot -> LayerSpec` of a network, in forward order.

        Raises:
            ValueError: the space has no blueprint, or the architecture is of another space.
        """
        if self._blueprint is None:
            raise ValueError(f"Space {self.name!r} has no blueprint, so its architectures have no layers.")
        if architecture not in self:
            raise ValueError(f"{architecture!r} is not of space {self.name!r}.")
        layers = self._described.get(architecture.id)
        if layers is None:
            if len(self._described) >= REMEMBERED:
                self._described.clear()
            layers = self._described[architecture.id] = self._blueprint(architecture.values)
        return layers.copy()

    def describe(self, values: Values) -> dict[str, LayerSpec]:
        """`layers` from canonical values, among which may be choices of other spaces.

        Raises:
            ValueError: the space has no blueprint.
        """
        if self._blueprint is None:
            raise ValueError(f"Space {self.name!r} has no blueprint, so its architectures have no layers.")
        return self._blueprint(values)

    def capacity(self) -> dict[str, LayerSpec]:
        """For every slot, a spec that holds the weights of every architecture's layer there."""
        return self._capacity() if self._capacity is not None else self.layers(self.largest())

    def __repr__(self) -> str:
        return f"SearchSpace({self.name}, {len(self.choices)} choices)"
