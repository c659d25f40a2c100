"""Slot: an ordinary block at its largest size, whose smaller versions are slices of its weights.

There are no elastic layers. A sub-network's block is *the same class* built at a smaller size, and its
tensors are views of the largest block's: leading rows and columns, and the centre of a kernel
(bignas.md, 1.1). So a sub-network inside the supernet and the same network extracted run the same code
on the same numbers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from search_space import plugins
from search_space.layers import LayerSpec

# Sub-blocks remembered per slot. They hold no storage; a few hundred cover the specs of a stage.
CACHED_SUB_BLOCKS = 512


def build_block(spec: LayerSpec) -> nn.Module:
    """The ordinary module of one layer, freshly initialised.

    Convolution weights are laid out channels-last, which trains the digits space 1.6 times as fast on a
    CPU. Supernet, sub-networks and extracted networks share the layout, and so their results to the bit.
    """
    block: nn.Module = plugins.load("supernet.blocks", spec.kind, "block kind").BLOCK(**spec.fields())
    return block.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def slice_bounds(large: torch.Size, small: torch.Size) -> tuple[tuple[int, int, int], ...]:
    """Where a smaller tensor lies in a larger one of the same rank: (dim, start, length) of each cut.

    Dimensions 0 and 1 (outputs, inputs) take the leading part; the others (a kernel's height and
    width) the centre. Dimensions of equal size are not cut.

    Raises:
        ValueError: the smaller tensor does not fit.
    """
    if len(large) != len(small) or any(s > n for n, s in zip(large, small, strict=True)):
        raise ValueError(f"A tensor of shape {tuple(small)} is not a slice of one of shape {tuple(large)}.")
    return tuple(
        (dim, 0 if dim < 2 else (n - s) // 2, s) for dim, (n, s) in enumerate(zip(large, small, strict=True)) if s < n
    )


class _Binding:
    """One tensor of a sub-block: the dict that holds it there, and where its values lie in the slot."""

    __slots__ = ("bounds", "cached", "holder", "name", "source")

    def __init__(self, holder: dict[str, Tensor | None], source: dict[str, Tensor | None], name: str) -> None:
        target, whole = holder[name], source[name]
        assert target is not None
        assert whole is not None
        self.holder, self.source, self.name = holder, source, name
        self.bounds = slice_bounds(whole.shape, target.shape)
        self.cached: tuple[int, Tensor] | None = None

    def view(self) -> Tensor:
        """The slice, linked to the whole tensor in autograd."""
        view = self.source[self.name]
        assert view is not None
        for bound in self.bounds:
            view = view.narrow(*bound)
        return view

    def view_without_grad(self) -> Tensor:
        """The slice for evaluation. It aliases the whole tensor, so it is remembered until that moves."""
        whole = self.source[self.name]
        assert whole is not None
        if self.cached is None or self.cached[0] != whole.data_ptr():
            self.cached = whole.data_ptr(), self.view()
        return self.cached[1]


class _SubBlock:
    """A block of one spec without storage of its own, and what to bind to it."""

    __slots__ = ("buffers", "module", "parameters")

    def __init__(self, spec: LayerSpec, largest: nn.Module) -> None:
        with torch.device("meta"):
            self.module = build_block(spec)
        self.parameters = list(_bindings(self.module, largest, "_parameters"))
        self.buffers = list(_bindings(self.module, largest, "_buffers"))
        for binding in self.parameters + self.buffers:
            binding.holder[binding.name] = None


def _bindings(sub_block: nn.Module, largest: nn.Module, kind: str) -> Iterator[_Binding]:
    for path, module in sub_block.named_modules():
        holder, source = getattr(module, kind), getattr(largest.get_submodule(path), kind)
        for name, tensor in holder.items():
            if tensor is not None:
                yield _Binding(holder, source, name)


class Slot(nn.Module):
    """One position of the supernet.

    In training mode normalisation uses batch statistics and keeps no running averages, which would
    mix those of different sub-networks; in evaluation mode it uses the slot's (see `calibrate`).

    Args:
        capacity: spec that every architecture's spec for this slot fits in.
    """

    def __init__(self, capacity: LayerSpec) -> None:
        super().__init__()
        self.capacity = capacity
        self.block = build_block(capacity)
        # A cache, not state: it may be emptied at any time.
        self._sub_blocks: OrderedDict[LayerSpec, _SubBlock] = OrderedDict()

    def forward(self, x: Tensor, spec: LayerSpec) -> Tensor:
        """Run the block of size `spec` on slices of this slot's weights."""
        sub_block = self._sub_block(spec)
        module, bound = sub_block.module, sub_block.parameters
        if module.training != self.training:
            module.train(self.training)
        if not self.training:
            bound = bound + sub_block.buffers
        if torch.is_grad_enabled():
            for binding in bound:
                binding.holder[binding.name] = binding.view()
        else:
            for binding in bound:
                binding.holder[binding.name] = binding.view_without_grad()
        try:
            out: Tensor = module(x)
        finally:
            # Leave no reference to this pass's autograd graph behind.
            for binding in bound:
                binding.holder[binding.name] = None
        return out

    def extract(self, spec: LayerSpec) -> nn.Module:
        """A block of size `spec` with its own copy of the weights and running statistics."""
        self._check(spec)
        like = next(self.block.parameters())
        block = build_block(spec).to(like.device, like.dtype)
        with torch.no_grad():
            for kind in ("_parameters", "_buffers"):
                for binding in _bindings(block, self.block, kind):
                    target = binding.holder[binding.name]
                    assert target is not None
                    target.copy_(binding.view())
        return block.train(self.training)

    def _sub_block(self, spec: LayerSpec) -> _SubBlock:
        cached = self._sub_blocks.get(spec)
        if cached is None:
            self._check(spec)
            cached = self._sub_blocks[spec] = _SubBlock(spec, self.block)
            if len(self._sub_blocks) > CACHED_SUB_BLOCKS:
                self._sub_blocks.popitem(last=False)
        return cached

    def _check(self, spec: LayerSpec) -> None:
        if not spec.fits_in(self.capacity):
            raise ValueError(f"{spec} does not fit in this slot's {self.capacity}.")
