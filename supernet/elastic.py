"""What each option of a space makes smaller than in the largest network: kernels, depth or widths.

Shapes decide, no names: the parameters of the largest network's layers are compared with those of the same network with
one choice changed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias

import torch

from search_space.architecture import Architecture
from search_space.layers import LayerSpec
from search_space.space import SearchSpace
from supernet.network import Supernet
from supernet.slot import build_block

# `none`: no weight is smaller or missing, as with the resolution of images, and in the largest option itself.
Shrunk: TypeAlias = Literal["none", "kernel", "depth", "width"]


@lru_cache(maxsize=8)
def shrunk_by(space: SearchSpace) -> tuple[tuple[Shrunk, ...], ...]:
    """For every choice of a space, what each of its options makes smaller.

    An option under which layers are missing is one of depth. Otherwise one under which a weight has fewer outputs or
    inputs is one of width, and one under which weights are smaller in other dimensions alone is one of kernels. One
    under which only parts of a layer are missing is one of depth.
    """
    return tuple(
        tuple(_shrunk(space, position, option) for option in range(len(choice.options)))
        for position, choice in enumerate(space.choices)
    )


def with_option(space: SearchSpace, position: int, option: int) -> Architecture:
    """The largest network with another option of one choice; choices that hang on others are made to matter."""
    genes = [count - 1 for count in space.option_counts.tolist()]
    genes[position] = option
    names = [choice.name for choice in space.choices]
    while (when := space.choices[position].when) is not None:
        position = names.index(when[0])
        options = space.choices[position].options
        if options[genes[position]] not in when[1]:
            genes[position] = max(options.index(value) for value in when[1])
    return space.from_genes(genes)


def add_transforms(supernet: Supernet) -> None:
    """Let every kernel that the space makes smaller be made by transforms (see `KernelTransform`)."""
    space = supernet.space
    for position, kinds in enumerate(shrunk_by(space)):
        for option, kind in enumerate(kinds):
            if kind != "kernel":
                continue
            for slot, spec in space.layers(with_option(space, position, option)).items():
                supernet.slot(slot).add_transforms(spec)


def _shrunk(space: SearchSpace, position: int, option: int) -> Shrunk:
    last = len(space.choices[position].options) - 1
    large, small = (space.layers(with_option(space, position, each)) for each in (last, option))
    if set(large) != set(small):
        return "depth"
    found = {_difference(large[slot], spec) for slot, spec in small.items() if spec != large[slot]}
    order: tuple[Shrunk, ...] = ("width", "kernel", "depth")
    return next((kind for kind in order if kind in found), "none")


def _difference(large: LayerSpec, small: LayerSpec) -> Shrunk:
    whole, part = _shapes(large), _shapes(small)
    both = [(whole[name], part[name]) for name in whole if name in part]
    if any(a[:2] != b[:2] for a, b in both):
        return "width"
    if any(a != b for a, b in both):
        return "kernel"
    return "depth" if set(whole) - set(part) else "none"


@lru_cache(maxsize=1024)
def _shapes(spec: LayerSpec) -> dict[str, tuple[int, ...]]:
    """Shapes of a layer's parameters by name."""
    with torch.device("meta"):
        return {name: tuple(parameter.shape) for name, parameter in build_block(spec).named_parameters()}
