"""Supernet: one set of weights that runs every architecture of a space."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache

from torch import Tensor, nn

from search_space.architecture import Architecture
from search_space.layers import LayerSpec
from search_space.space import SearchSpace
from supernet.slot import Slot, build_block


class Supernet(nn.Module):
    """Stateless: the architecture is an argument, never something that is set and must be reset.

    Args:
        space: a space with a blueprint. Its capacity decides the sizes of the weights.
    """

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space
        self._layers = lru_cache(maxsize=1024)(space.layers)
        self.slots = nn.ModuleDict({name: Slot(spec) for name, spec in space.capacity().items()})

    def forward(self, inputs: Tensor, architecture: Architecture) -> Tensor:
        """Logits of one sub-network, computed on slices of the shared weights."""
        x = inputs
        for name, spec in self._layers(architecture).items():
            x = self.slot(name)(x, spec)
        return x

    def slot(self, name: str) -> Slot:
        """The slot of that name."""
        slot = self.slots[name]
        assert isinstance(slot, Slot)
        return slot

    def zero_last_scales(self) -> None:
        """Start every residual block as its shortcut (BigNAS, section 3.1)."""
        for module in self.modules():
            zero_last_scale = getattr(module, "zero_last_scale", None)
            if zero_last_scale is not None:
                zero_last_scale()


def build_network(layers: dict[str, LayerSpec]) -> nn.Sequential:
    """A plain network with fresh weights, one block per slot, in forward order."""
    return nn.Sequential(OrderedDict((name, build_block(spec)) for name, spec in layers.items()))


def extract(supernet: Supernet, architecture: Architecture) -> nn.Sequential:
    """A sub-network as a plain module with its own weights; `supernet` is left as it was.

    Its output equals `supernet(x, architecture)` exactly. Before use it wants `calibrate`, because
    running statistics of batch normalisation are not shared between sub-networks.
    """
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for name, spec in supernet.space.layers(architecture).items():
        blocks[name] = supernet.slot(name).extract(spec)
    return nn.Sequential(blocks).train(supernet.training)
