"""Spaces whose choices pick one operation per block: their blocks, and the same spaces arranged for other weights.

Gradient search (ProxylessNAS, 1812.00332) wants every choice to decide what one slot holds and nothing else.
`blocks_of` finds out whether a space is like that by trying every option, so it asks nothing of its family.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from search_space.architecture import Architecture, Option
from search_space.layers import LayerSpec
from search_space.space import Blueprint, Choice, SearchSpace, Values

# Random networks on which it is checked that the blocks do not depend on one another.
CHECKED_NETWORKS = 16


@dataclass(frozen=True, slots=True)
class SearchedBlock:
    """One choice of operation.

    Attributes:
        choice: its name.
        slot: slot of the networks, that it decides.
        options: options of the choice.
        specs: what each option puts there; None leaves the slot out.
    """

    choice: str
    slot: str
    options: tuple[Option, ...]
    specs: tuple[LayerSpec | None, ...]


@dataclass(frozen=True, slots=True)
class Blocks:
    """A space as a sequence of blocks.

    Attributes:
        searched: blocks with a choice, in forward order.
        fixed: layers that every network has, by slot.
        order: all slots, in forward order.
    """

    searched: tuple[SearchedBlock, ...]
    fixed: dict[str, LayerSpec]
    order: tuple[str, ...]

    def path(self, architecture: Architecture) -> tuple[int, ...]:
        """Which option each searched block has, in forward order."""
        return tuple(block.options.index(architecture.values[block.choice]) for block in self.searched)


@dataclass(frozen=True, slots=True)
class CandidatePrices:
    """What the candidates of a space cost on one target, in plain numbers.

    Attributes:
        target: its name.
        fixed_ms: the layers that every network has, and what runs beside them.
        blocks_ms: times of every option of every block, in forward order; 0 for an option that leaves its block out.
    """

    target: str
    fixed_ms: float
    blocks_ms: tuple[tuple[float, ...], ...]

    @property
    def cheapest_ms(self) -> float:
        """Latency of the cheapest network."""
        return self.fixed_ms + sum(map(min, self.blocks_ms))

    @property
    def dearest_ms(self) -> float:
        """Latency of the dearest network."""
        return self.fixed_ms + sum(map(max, self.blocks_ms))


def blocks_of(space: SearchSpace) -> Blocks:
    """The blocks of a space, found by trying every option of every choice.

    Raises:
        ValueError: a choice shapes several slots or none, two choices shape one slot, or a block has one candidate.
    """
    widest = _with_every_slot(space)
    layers = space.layers(widest)
    searched: dict[str, SearchedBlock] = {}
    for choice in space.choices:
        if len(choice.options) == 1:
            if choice.name in layers:
                raise ValueError(
                    f"Block {choice.name!r} of {space.name!r} has a single candidate operation, {choice.options[0]!r}, "
                    "so there is nothing to choose; give it at least two."
                )
            continue
        slot = _slot_of(space, widest, choice)
        if slot in searched:
            raise ValueError(
                f"Choices {searched[slot].choice!r} and {choice.name!r} of {space.name!r} both shape slot {slot!r}. "
                "A search by gradient wants one choice of operation per block: give one of them a single option."
            )
        networks = [_layers_with(space, widest, choice, option) for option in choice.options]
        searched[slot] = SearchedBlock(
            choice.name, slot, choice.options, tuple(network.get(slot) for network in networks)
        )
    if not searched:
        raise ValueError(
            f"Space {space.name!r} has no choice of at least two operations, so there is nothing to search."
        )
    found = Blocks(
        tuple(searched[slot] for slot in layers if slot in searched),
        {slot: spec for slot, spec in layers.items() if slot not in searched},
        tuple(layers),
    )
    _check_independent(space, found)
    return found


def separated(space: SearchSpace) -> SearchSpace:
    """The same space with a slot of its own for every candidate: `slot/0`, `slot/1`, in the order of the options.

    A supernet of it is ProxylessNAS's over-parameterised network: candidates share no weights. Its architectures are
    those of `space`, with equal ids.

    Raises:
        ValueError: as `blocks_of`.
    """
    blocks = blocks_of(space)
    genes = {
        block.slot: (block.choice, {option: gene for gene, option in enumerate(block.options)})
        for block in blocks.searched
    }

    def name(slot: str, values: Values) -> str:
        if slot not in genes:
            return slot
        choice, of_option = genes[slot]
        return f"{slot}/{of_option[values[choice]]}"

    def blueprint(values: Values) -> dict[str, LayerSpec]:
        layers = space.layers(space.architecture(**values))
        return {name(slot, values): spec for slot, spec in layers.items()}

    def capacity() -> dict[str, LayerSpec]:
        specs = {block.slot: block.specs for block in blocks.searched}
        everything: dict[str, LayerSpec] = {}
        for slot in blocks.order:
            if slot in blocks.fixed:
                everything[slot] = blocks.fixed[slot]
            else:
                everything |= {f"{slot}/{gene}": spec for gene, spec in enumerate(specs[slot]) if spec is not None}
        return everything

    return _like(space, blueprint, capacity)


def alone(space: SearchSpace, architecture: Architecture) -> SearchSpace:
    """The same space, whose supernet holds the weights of one network: to train it by itself."""
    return _like(space, lambda values: space.layers(space.architecture(**values)), lambda: space.layers(architecture))


def _like(space: SearchSpace, blueprint: Blueprint, capacity: Callable[[], dict[str, LayerSpec]]) -> SearchSpace:
    """A space of the same networks, arranged otherwise."""
    made = SearchSpace(space.name, space.choices, blueprint, capacity, space.takes)
    made.float_bits = space.float_bits
    made.cache_batch, made.cache_tokens = space.cache_batch, space.cache_tokens
    return made


def _with_every_slot(space: SearchSpace) -> Architecture:
    """A network that no choice leaves a slot out of."""
    best = space.largest()
    for choice in space.choices:
        for option in choice.options:
            other = space.architecture(**{**best.values, choice.name: option})
            if len(space.layers(other)) > len(space.layers(best)):
                best = other
    return best


def _layers_with(space: SearchSpace, base: Architecture, choice: Choice, option: Option) -> dict[str, LayerSpec]:
    return space.layers(space.architecture(**{**base.values, choice.name: option}))


def _slot_of(space: SearchSpace, base: Architecture, choice: Choice) -> str:
    """The one slot that a choice shapes."""
    layers = space.layers(base)
    shaped: dict[str, None] = {}
    for option in choice.options:
        other = _layers_with(space, base, choice, option)
        shaped |= dict.fromkeys(slot for slot in {**layers, **other} if layers.get(slot) != other.get(slot))
    if len(shaped) == 1:
        return next(iter(shaped))
    what = (
        "shapes no layer by itself" if not shaped else f"shapes {len(shaped)} layers ({', '.join([*shaped][:3])}, ...)"
    )
    raise ValueError(
        f"Choice {choice.name!r} of {space.name!r} {what}. A search by gradient wants choices that each pick the "
        "operation of one block, as those of family 'proxyless' do; give this one a single option, such as "
        f"{choice.options[-1]!r}."
    )


def _check_independent(space: SearchSpace, blocks: Blocks) -> None:
    """Every network must be its blocks, whatever the others are."""
    rng = np.random.default_rng(0)
    by_slot = {block.slot: block for block in blocks.searched}
    for _ in range(CHECKED_NETWORKS):
        architecture = space.sample(rng)
        values, layers = architecture.values, space.layers(architecture)
        for slot in blocks.order:
            block = by_slot.get(slot)
            spec = blocks.fixed[slot] if block is None else block.specs[block.options.index(values[block.choice])]
            if layers.get(slot) != spec:
                raise ValueError(
                    f"Slot {slot!r} of {space.name!r} depends on more than one choice: in {architecture.id} it is not "
                    "what its own choice says. A search by gradient wants blocks that do not depend on one another."
                )
    tied = {slot for spec in blocks.fixed.values() for slot, _ in spec.ties().values()} & set(by_slot)
    tied |= {slot for slot, block in by_slot.items() if any(spec is not None and spec.ties() for spec in block.specs)}
    if tied:
        raise ValueError(
            f"Slot {sorted(tied)[0]!r} of {space.name!r} shares weights with another, so it must be fixed."
        )
