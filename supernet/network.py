"""Supernet: one set of weights that runs every architecture of a space."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from search_space.architecture import Architecture
from search_space.inputs import INPUT, MASK
from search_space.layers import LayerSpec
from search_space.space import SearchSpace
from supernet.inputs import Flow, Inputs, named
from supernet.slot import Slot, build_block


class Network(nn.Sequential):
    """A plain network: its blocks, one after the other, as `Flow` says.

    Blocks that say `takes_mask` are also given `mask_BT`, True where a position holds a token and False
    where it is padding.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its inputs, in their order; a mask, where it takes one, may be left out."""
        reads = tuple(str(block.reads) for block in self if getattr(block, "reads", ""))
        return reads or ("input", "mask")

    def forward(self, *given: Tensor) -> Tensor:
        """Logits of a batch.

        Args:
            given: its inputs in the order of `names`.

        Raises:
            ValueError: other inputs than it has, or a mask that it cannot use.
        """
        flow = self.begin(*given)
        for block in self:
            flow = self.step(flow, block)
        assert flow.x is not None, "a network without blocks"
        return flow.x

    def begin(self, *given: Tensor) -> Flow:
        """What is on its way before the first block.

        Args:
            given: as in `forward`.

        Raises:
            ValueError: as in `forward`.
        """
        names = self.names
        if not len(names) - names.count("mask") <= len(given) <= len(names):
            raise ValueError(f"This network takes {', '.join(names)}; got {len(given)} inputs.")
        inputs = dict(zip(names, given, strict=False))
        if "mask" in inputs:
            self._check_mask(inputs["input"], inputs["mask"])
        return Flow(inputs)

    @staticmethod
    def step(flow: Flow, block: nn.Module) -> Flow:
        """What is on its way behind one of its blocks."""
        flow = flow.into(block)
        masked = flow.mask is not None and getattr(block, "takes_mask", False)
        return flow.gave(block(flow.x, flow.mask) if masked else block(flow.x))

    def _check_mask(self, inputs: Tensor, mask_BT: Tensor) -> None:
        if not any(getattr(block, "takes_mask", False) for block in self):
            raise ValueError("This network takes no mask: nothing in it would hear of padding. Leave the mask out.")
        if mask_BT.dtype != torch.bool:
            raise ValueError(f"The mask must be of torch.bool, true where a token stands; got {mask_BT.dtype}.")
        # A trace turns sizes into tensors, which are not compared.
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if not tracing and mask_BT.shape != inputs.shape:
            raise ValueError(f"The mask must have the inputs' shape {tuple(inputs.shape)}; got {tuple(mask_BT.shape)}.")


class Supernet(nn.Module):
    """Stateless: the architecture is an argument, never something that is set and must be reset.

    Args:
        space: a space with a blueprint. Its capacity decides the sizes of the weights.
    """

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space
        self._layers = lru_cache(maxsize=1024)(space.layers)
        self._quiet_layers = lru_cache(maxsize=1024)(partial(_without_dropout, self._layers))
        capacity = space.capacity()
        self.slots = nn.ModuleDict({name: Slot(spec) for name, spec in capacity.items()})
        _tie({name: self.slot(name).block for name in capacity}, capacity)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, inputs: Tensor | Inputs, architecture: Architecture, mask_BT: Tensor | None = None) -> Tensor:
        """Logits of one sub-network, computed on slices of the shared weights.

        Args:
            inputs: by name, or the only one.
            mask_BT: for padded text, True where a position holds a token.
        """
        flow = Flow(named(inputs, mask_BT))
        for name, spec in self._layers(architecture).items():
            slot = self.slot(name)
            flow = flow.into(slot.block)
            flow = flow.gave(slot(flow.x, spec, flow.mask))
        assert flow.x is not None
        return flow.x

    def layers(self, architecture: Architecture, *, dropout: bool = True) -> dict[str, LayerSpec]:
        """`slot -> LayerSpec` of a network, remembered: the specs of two calls are the same objects.

        Args:
            dropout: whether its blocks have the dropouts that they were declared with; the weights are the same.
        """
        return self._layers(architecture) if dropout else self._quiet_layers(architecture)

    def slot(self, name: str) -> Slot:
        """The slot of that name."""
        slot = self.slots[name]
        assert isinstance(slot, Slot)
        return slot

    def add_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Add what a state dict has beyond a fresh supernet: values of their own of some widths (see `Slot`)."""
        for name in self.slots:
            prefix = f"slots.{name}."
            self.slot(name).add_room({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})

    def zero_last_scales(self) -> None:
        """Start every residual block as its shortcut (BigNAS, section 3.1)."""
        for module in self.modules():
            zero_last_scale = getattr(module, "zero_last_scale", None)
            if zero_last_scale is not None:
                zero_last_scale()


def _without_dropout(
    layers: Callable[[Architecture], dict[str, LayerSpec]], architecture: Architecture
) -> dict[str, LayerSpec]:
    return {name: spec.without_dropout() for name, spec in layers(architecture).items()}


def takes_mask(network: nn.Module, inputs: Tensor | Inputs) -> bool:
    """Whether these inputs are texts whose padding the network wants to be told of."""
    text = named(inputs).get(INPUT)
    if text is None or text.is_floating_point():
        return False
    return any(getattr(block, "takes_mask", False) for block in network.children())


def float_type_of(network: nn.Module) -> torch.dtype:
    """The type of a network's weights, as far as they are floats."""
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)


def complete(network: nn.Module, inputs: Tensor | Inputs, mask_BT: Tensor | None = None) -> dict[str, Tensor]:
    """What a network is given, by name and in its order: images in the type of its weights, and for padded texts a
    mask, full where none is said.

    Args:
        mask_BT: where it is not among the inputs.

    Raises:
        ValueError: other inputs than it has, or a mask that the network cannot use: it takes none, or a text of it has
            no token.
    """
    dtype, by_name = float_type_of(network), named(inputs, mask_BT)
    names: tuple[str, ...] = getattr(network, "names", tuple(by_name))
    if not set(names) - {MASK} <= set(by_name) <= set(names):
        raise ValueError(f"This network takes {', '.join(names)}; got {', '.join(by_name)}.")
    given = {name: by_name[name] for name in names if name in by_name}
    given = {name: x.to(dtype) if x.is_floating_point() else x for name, x in given.items()}
    mask_BT = given.get(MASK)
    if not takes_mask(network, given):
        if mask_BT is not None:
            raise ValueError("A mask was given to a network that takes none: it would read padding as text.")
        return given
    if mask_BT is not None and not bool(mask_BT.any(1).all()):
        empty = int((~mask_BT.any(1)).sum())
        raise ValueError(f"The mask has no token in {empty} of {len(mask_BT)} texts; leave empty texts out.")
    return given if mask_BT is not None else {**given, MASK: torch.ones_like(given[INPUT], dtype=torch.bool)}


def arguments(network: nn.Module, inputs: Tensor | Inputs, mask_BT: Tensor | None = None) -> tuple[Tensor, ...]:
    """`complete` without the names: what a network is called with."""
    given = complete(network, inputs, mask_BT)
    return tuple(given.values())


def build_network(layers: dict[str, LayerSpec]) -> Network:
    """A plain network with fresh weights, one block per slot, in forward order."""
    blocks = OrderedDict((name, build_block(spec)) for name, spec in layers.items())
    _tie(blocks, layers)
    return Network(blocks)


def extract(supernet: Supernet, architecture: Architecture, *, shares: bool = False) -> Network:
    """A sub-network as a plain module with its own weights; `supernet` is left as it was.

    Its output equals `supernet(x, architecture)` exactly. Before use it wants `calibrate`, because
    running statistics of batch normalisation are not shared between sub-networks.

    Args:
        shares: whether weights that it has whole are the supernet's own, of a network that is read and never trained.
    """
    layers = supernet.space.layers(architecture)
    blocks = OrderedDict((name, supernet.slot(name).extract(spec, shares=shares)) for name, spec in layers.items())
    _tie(blocks, layers)
    return Network(blocks).train(supernet.training)


def _tie(blocks: Mapping[str, nn.Module], layers: Mapping[str, LayerSpec]) -> None:
    """Make tied parameters one parameter, as a language model's head is its embedding."""
    for name, spec in layers.items():
        for own, (slot, other) in spec.ties().items():
            holder, _, attribute = own.rpartition(".")
            blocks[name].get_submodule(holder).register_parameter(attribute, blocks[slot].get_parameter(other))
