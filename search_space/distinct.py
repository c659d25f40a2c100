"""Every different layer that the networks of a space have, each with a network that has it."""

from __future__ import annotations

import itertools
import math

import numpy as np

from search_space.architecture import Architecture
from search_space.layers import LayerSpec
from search_space.space import SearchSpace

# Random networks around which it is looked which slots hang on which choices.
BASES = 6
# Random networks in which nothing new may turn up; what does is added.
CHECKS = 300
# Combinations of a slot's choices that are looked through one by one.
MAX_COMBINATIONS = 20_000


class TooManyLayers(ValueError):
    """The space has more different layers than were allowed."""


def distinct_layers(space: SearchSpace, most: int, seed: int = 0) -> dict[LayerSpec, Architecture]:
    """Different layer specs of a space, each with an architecture that has it, in a fixed order.

    Which choices a slot's layer hangs on is found by changing one choice at a time around several networks;
    then every combination of those is looked at. A slot that hangs on too many to combine is sampled.

    Raises:
        TooManyLayers: there are more than `most`.
        ValueError: the space has no layers.
    """
    rng = np.random.default_rng(seed)
    bases = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(BASES))]
    found: dict[LayerSpec, Architecture] = {}

    def see(architecture: Architecture) -> None:
        for spec in space.layers(architecture).values():
            found.setdefault(spec, architecture)
        if len(found) > most:
            raise TooManyLayers(
                f"{space.name} has more than {most} different layers; raise hardware.max_layers, or leave the table "
                "out with hardware.max_layers: 0."
            )

    for slot_choices in sorted({tuple(sorted(c)) for c in dependencies(space, bases).values()}):
        counts = [len(space.choices[i].options) for i in slot_choices]
        for base in bases[:1] if math.prod(counts) > MAX_COMBINATIONS else bases:
            for genes in _combinations(counts, rng):
                changed = list(base.genes)
                for place, gene in zip(slot_choices, genes, strict=True):
                    changed[place] = gene
                see(space.from_genes(changed))
    for _ in range(CHECKS):
        see(space.sample(rng))
    return found


def dependencies(space: SearchSpace, bases: list[Architecture]) -> dict[str, set[int]]:
    """For each slot, the positions of the choices that its layer hangs on.

    Args:
        bases: networks around which one choice at a time is changed.
    """
    hangs: dict[str, set[int]] = {}
    for base in bases:
        before = space.layers(base)
        for place, choice in enumerate(space.choices):
            for gene in range(len(choice.options)):
                if gene == base.genes[place]:
                    continue
                genes = list(base.genes)
                genes[place] = gene
                after = space.layers(space.from_genes(genes))
                for slot in before.keys() | after.keys():
                    hangs.setdefault(slot, set())
                    if before.get(slot) != after.get(slot):
                        hangs[slot].add(place)
    return hangs


def _combinations(counts: list[int], rng: np.random.Generator) -> list[tuple[int, ...]]:
    if math.prod(counts) <= MAX_COMBINATIONS:
        return list(itertools.product(*(range(count) for count in counts)))
    return [tuple(int(g) for g in rng.integers(0, counts)) for _ in range(MAX_COMBINATIONS)]


def some_networks(space: SearchSpace, seed: int = 0) -> list[Architecture]:
    """Networks that together have every layer of a space, or nearly every layer of a large one, for checks."""
    rng = np.random.default_rng(seed)
    bases = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(CHECKS))]
    return list({one.id: one for one in bases}.values())
