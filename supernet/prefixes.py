"""Architectures of a batch that begin with the same layers share the computation of those layers.

Networks are run in the order of their layers, as one reads a dictionary: consecutive ones share the longest
beginnings, and what a block gave is kept exactly as long as a later network goes on from it. A block sees the same
inputs and runs the same code as in a network of its own, so every answer is the same to the last bit.

Batch normalisation does not stand in the way: in calibration a block's statistics depend on the blocks before it and
on nothing else, so networks with a common beginning have them in common too. Every different beginning has a block
of its own there, with its own statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from search_space.architecture import Architecture
from search_space.layers import LayerSpec
from supernet.calibrate import cumulative, norms_of
from supernet.data.dataset import Batch
from supernet.inputs import Flow, Inputs, named
from supernet.network import Supernet

# Bytes of hidden states that are kept at branches; beyond them a beginning is computed again.
KEPT_BYTES = 512 * 2**20

Layer = tuple[str, LayerSpec]
Step = Callable[[int, Flow], Flow]


class Prefixes:
    """Networks of one supernet, in the order in which they share most.

    The supernet is put in evaluation mode. Its weights must stay as they are while this is in use.

    Args:
        supernet: whose sub-networks run.
        architectures: any number, also the same one twice.
        kept_bytes: see `KEPT_BYTES`.
    """

    def __init__(self, supernet: Supernet, architectures: Sequence[Architecture], kept_bytes: int = KEPT_BYTES) -> None:
        self._supernet = supernet.eval()
        self._kept_bytes = kept_bytes
        keys = _keys(supernet, architectures)
        self.order = sorted(range(len(keys)), key=keys.__getitem__)
        in_order = [keys[index] for index in self.order]
        # Layers that a network has in common with the one before it, in order.
        self._shared = [0, *(_common(a, b) for a, b in pairwise(in_order))]
        paths = [list(supernet.layers(architectures[index]).items()) for index in self.order]
        self._nodes, self._layers = _nodes(self._shared, paths)
        self._blocks = self._own_blocks()

    @property
    def num_layers(self) -> int:
        """Layers of all networks together, as if nothing were shared."""
        return sum(len(nodes) for nodes in self._nodes)

    @property
    def num_computed(self) -> int:
        """Layers that are computed for a batch of inputs, while everything that is wanted again can be kept."""
        return len(self._layers)

    # --- running ------------------------------------------------------------------------------------

    def answers(self, batch: Batch) -> Iterator[tuple[int, Tensor]]:
        """Position among the architectures, and logits, of every network, in `order`; without gradients."""
        yield from self._run(batch.inputs, self._step)

    def calibrate(self, batches: Iterable[Tensor | Inputs]) -> None:
        """Give every batch norm the plain average of its statistics over `batches`, as `calibrate.calibrate` does.

        Raises:
            ValueError: there are batch norms, but no batches.
        """
        norms = [norm for block in self._blocks.values() for norm in norms_of(block)]
        with cumulative(norms):
            seen = False
            for inputs in batches if norms else ():
                seen, counted = True, set[int]()

                def step(node: int, flow: Flow, counted: set[int] = counted) -> Flow:
                    again = node in counted
                    counted.add(node)
                    block = self._blocks.get(node)
                    if not again or block is None:
                        return self._step(node, flow)
                    # Computed again because it could not be kept: it must not count twice.
                    before = [buffer.clone() for buffer in block.buffers()]
                    out = self._step(node, flow)
                    for buffer, value in zip(block.buffers(), before, strict=True):
                        buffer.copy_(value)
                    return out

                for _answer in self._run(named(inputs), step):
                    pass
            if norms and not seen:
                raise ValueError("Calibration needs at least one batch of inputs; got none.")

    def _step(self, node: int, flow: Flow) -> Flow:
        name, spec = self._layers[node]
        slot, block = self._supernet.slot(name), self._blocks.get(node)
        flow = flow.into(slot.block)
        if block is None:
            return flow.gave(slot(flow.x, spec, flow.mask))
        masked = flow.mask is not None and getattr(block, "takes_mask", False)
        return flow.gave(block(flow.x, flow.mask) if masked else block(flow.x))

    def _run(self, inputs: Inputs, step: Step) -> Iterator[tuple[int, Tensor]]:
        # From the shallowest to the deepest: after how many layers, and what they gave.
        kept: list[tuple[int, Flow]] = [(0, Flow(inputs))]
        for position, index in enumerate(self.order):
            while kept[-1][0] > self._shared[position]:
                kept.pop()
            depth, flow = kept[-1]
            nodes, wanted = self._nodes[position], self._branches(position, depth)
            with torch.no_grad():
                for reached, node in enumerate(nodes[depth:], depth + 1):
                    flow = step(node, flow)
                    if reached in wanted:
                        kept.append((reached, flow))
                        self._let_go(kept)
            assert flow.x is not None
            yield index, flow.x

    def _branches(self, position: int, depth: int) -> set[int]:
        """Depths beyond `depth` from which a later network goes on, before another way is taken there."""
        found: set[int] = set()
        least: int | None = None
        for shared in self._shared[position + 1 :]:
            least = shared if least is None else min(least, shared)
            if least <= depth:
                break
            found.add(least)
        return found

    def _let_go(self, kept: list[tuple[int, Flow]]) -> None:
        """Drop the shallowest while they are too large: they are wanted last."""
        while len(kept) > 2 and sum(flow.num_bytes for _, flow in kept[1:]) > self._kept_bytes:
            del kept[1]

    # --- blocks with statistics of their own ----------------------------------------------------------

    def _own_blocks(self) -> dict[int, nn.Module]:
        """For every node whose block normalises batches, a copy of it."""
        blocks: dict[int, nn.Module] = {}
        for node, (name, spec) in enumerate(self._layers):
            slot = self._supernet.slot(name)
            if norms_of(slot.block):
                blocks[node] = slot.extract(spec)
        return blocks


def in_order(supernet: Supernet, architectures: Sequence[Architecture]) -> list[int]:
    """Positions of architectures such that neighbours share the longest beginnings."""
    keys = _keys(supernet, architectures)
    return sorted(range(len(keys)), key=keys.__getitem__)


def _keys(supernet: Supernet, architectures: Sequence[Architecture]) -> list[tuple[int, ...]]:
    """For every architecture a number for each of its layers; equal layers of a slot have equal numbers.

    Numbers follow the layers' own words, so any two architectures compare the same way whichever others are there:
    a search that was killed in the middle of a batch goes on in the order that it had.
    """
    paths = [list(supernet.layers(architecture).items()) for architecture in architectures]
    layers = sorted({layer for path in paths for layer in path}, key=lambda layer: (layer[0], repr(layer[1])))
    numbers = {layer: number for number, layer in enumerate(layers)}
    return [tuple(numbers[layer] for layer in path) for path in paths]


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many leading numbers are equal."""
    for i, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return i
    return min(len(first), len(second))


def _nodes(shared: Sequence[int], paths: Sequence[Sequence[Layer]]) -> tuple[list[list[int]], list[Layer]]:
    """Numbers of the different beginnings: of every network one for each of its layers; and each one's last layer."""
    nodes: list[list[int]] = []
    layers: list[Layer] = []
    for position, (path, common) in enumerate(zip(paths, shared, strict=True)):
        own = nodes[position - 1][:common] if common else []
        nodes.append([*own, *range(len(layers), len(layers) + len(path) - common)])
        layers += path[common:]
    return nodes, layers
