"""Named inputs: what networks are given, by name, and how it goes through their blocks.

A network of images or of texts has one input, `input`, and where texts are padded a second one, `mask`. A network of
images and texts has one for each, and nothing else is different: whoever runs, measures or writes a network hands its
inputs on by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor, nn

from search_space.inputs import INPUT, MASK

# In the order in which a network takes them.
Inputs: TypeAlias = Mapping[str, Tensor]


def named(inputs: Tensor | Inputs, mask_BT: Tensor | None = None) -> Inputs:
    """Inputs by name: a tensor alone is the input of a network that has one.

    Args:
        mask_BT: mask of padded texts, True where a position holds a token.
    """
    by_name = {INPUT: inputs} if isinstance(inputs, Tensor) else inputs
    return by_name if mask_BT is None else {**by_name, MASK: mask_BT}


def count(inputs: Inputs) -> int:
    """Examples that are in each of them."""
    return len(next(iter(inputs.values())))


def part(inputs: Inputs, index: slice | Tensor) -> Inputs:
    """Some of the examples."""
    return {name: tensor[index] for name, tensor in inputs.items()}


def moved(inputs: Inputs, device: torch.device | None) -> Inputs:
    """The same on a device; None: where they are."""
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def num_bytes(inputs: Inputs) -> int:
    """Bytes of memory."""
    return sum(tensor.nbytes for tensor in inputs.values())


def compares(network: nn.Module) -> bool:
    """Whether a network compares images with texts: one of its blocks joins what towers gave."""
    return any(getattr(block, "joins", False) for block in network.children())


@dataclass(frozen=True, slots=True)
class Flow:
    """What is on its way through the blocks of a network.

    A block takes what the block before it gave. One that says `reads` begins a tower: it takes the input of that name,
    says with `mask_of` which of its positions count, and what was made before is set aside. One that says `joins` takes
    what all towers gave, stacked behind the batch, and one that says `chains` their positions, one behind the other.

    Attributes:
        inputs: inputs of the network, by name.
        x: what the next block takes; None: nothing was read yet.
        mask: True where a position of `x` holds a token; None: everywhere.
        ends: what the towers before this one gave, and their masks.
    """

    inputs: Mapping[str, Tensor]
    x: Tensor | None = None
    mask: Tensor | None = None
    ends: tuple[tuple[Tensor, Tensor | None], ...] = ()

    def into(self, block: Any) -> Self:
        """The same where `x` and `mask` are what this block takes."""
        reads = getattr(block, "reads", "")
        if reads or self.x is None:
            x = self.inputs[reads or "input"]
            marks = getattr(block, "mask_of", None)
            mask = self.inputs.get("mask") if marks is None else marks(x)
            return replace(self, x=x, mask=mask, ends=() if self.x is None else (*self.ends, (self.x, self.mask)))
        every = (*self.ends, (self.x, self.mask))
        if getattr(block, "joins", False):
            return replace(self, x=torch.stack([x for x, _ in every], dim=1), mask=None, ends=())
        if getattr(block, "chains", False):
            mask = None
            if any(mask is not None for _, mask in every):
                masks = [x.new_ones(x.shape[:2], dtype=torch.bool) if mask is None else mask for x, mask in every]
                mask = torch.cat(masks, dim=1)
            return replace(self, x=torch.cat([x for x, _ in every], dim=1), mask=mask, ends=())
        return self

    @property
    def num_bytes(self) -> int:
        """Bytes of memory of what the blocks gave."""
        return sum(tensor.nbytes for tensor in (self.x, *(x for x, _ in self.ends)) if tensor is not None)

    def to(self, device: torch.device) -> Self:
        """The same on a device; itself where it is there already."""
        if self.x is None or self.x.device == device:
            return self
        (x, mask), *ends = (
            (x.to(device), None if mask is None else mask.to(device)) for x, mask in ((self.x, self.mask), *self.ends)
        )
        return replace(self, x=x, mask=mask, ends=tuple(ends))

    def gave(self, x: Tensor) -> Self:
        """The same behind a block that gave this."""
        return replace(self, x=x)
