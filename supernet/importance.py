"""Importance ordering: an exact permutation of a pretrained network, so that its prefixes are its best parts.

A narrower sub-network keeps the first neurons, the first groups of heads and the first channels. In a pretrained
network the order of those is arbitrary; it may be changed at will, because what a layer computes is a sum over them.
Ordering by importance before training is what makes width elastic at no loss (DynaBERT, arXiv 2004.04037,
section 2.2; here with scores that need no gradient).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from search_space.inputs import MASK
from search_space.layers import LayerSpec
from supernet.inputs import Inputs, named
from supernet.network import Network, Supernet

SCORES = ("activation", "weight")


@dataclass(frozen=True, slots=True)
class Reader:
    """A linear module or convolution of a slot's block, whose inputs are the groups' outputs."""

    slot: str
    name: str
    weight: Tensor


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis along which groups may be permuted: of one block, or of all blocks that shortcuts tie.

    Attributes:
        slot, field: the block where it begins, and the field of its spec that counts the groups.
        readers: what reads the groups' outputs.
        members: every tensor that has the axis, with its dimension.
        groups: number of groups: neurons, channels, heads, or key-value heads with their queries.
    """

    slot: str
    field: str
    readers: tuple[Reader, ...]
    members: tuple[tuple[Tensor, int], ...]
    groups: int


# What a norm has along its channels.
VECTORS = (".weight", ".bias", ".running_mean", ".running_var")


def axes(supernet: Supernet) -> Iterator[Axis]:
    """Every permutable axis of a supernet: those inside of blocks, as they declare them in `axes`, and those between
    blocks."""
    for slot in supernet.slots:
        block, capacity = supernet.slot(slot).block, supernet.slot(slot).capacity
        for field, reader, names in getattr(block, "axes", ()):
            groups, several = int(capacity.fields()[field]), (reader,) if isinstance(reader, str) else reader
            yield Axis(slot, field, _readers(slot, block, several), _members(block, names), groups)
    yield from streams(supernet)


def streams(supernet: Supernet) -> Iterator[Axis]:
    """Channels that blocks hand on to each other, where some network of the space has fewer of them.

    Blocks declare in `takes` and `gives` what of them has these channels. A shortcut that is the input itself ties
    what a block takes to what it gives, so that a stage has one order (`LayerSpec.hands_on`, of the largest network).
    Left as they are: images, logits, channels that a block without such a declaration takes or gives, and those that a
    shortcut fills up with zeros.
    """
    largest = supernet.layers(supernet.space.largest())
    narrowed: list[dict[str, LayerSpec]] | None = None
    open_: _Stream | None = None
    for slot in supernet.slots:
        block, capacity = supernet.slot(slot).block, supernet.slot(slot).capacity
        takes, gives = getattr(block, "takes", None), getattr(block, "gives", None)
        flow = largest.get(slot, capacity).hands_on()
        if takes is None or flow == "padded":
            open_ = None
            continue
        if open_ is not None:
            open_.take(slot, block, takes)
        if flow == "same" and gives is not None:
            if open_ is not None:
                open_.give(block, gives)
            continue
        if open_ is not None:
            narrowed = list(_narrowed(supernet)) if narrowed is None else narrowed
            if any(open_.is_narrower_in(layers) for layers in narrowed):
                yield open_.axis()
        open_ = None
        if gives is not None:
            open_ = _Stream(slot, gives[0], int(capacity.fields()[gives[0]]))
            open_.give(block, gives)


class _Stream:
    """Channels that are handed on, while their readers are gathered."""

    def __init__(self, slot: str, field: str, channels: int) -> None:
        self.slot, self.field, self.channels = slot, field, channels
        self._fields: list[tuple[str, str]] = []
        self._readers: list[Reader] = []
        self._members: list[tuple[Tensor, int]] = []

    def take(self, slot: str, block: nn.Module, takes: tuple[Any, ...]) -> None:
        """A block reads them."""
        field, readers, names = takes
        self._fields.append((slot, field))
        self._readers += _readers(slot, block, readers)
        self._members += _members(block, names)

    def give(self, block: nn.Module, gives: tuple[Any, ...]) -> None:
        """A block writes them."""
        self._members += _members(block, gives[1])

    def is_narrower_in(self, layers: dict[str, LayerSpec]) -> bool:
        """Whether a network has fewer of them."""
        return any(int(layers[slot].fields()[field]) < self.channels for slot, field in self._fields if slot in layers)

    def axis(self) -> Axis:
        """All of it."""
        return Axis(self.slot, self.field, tuple(self._readers), tuple(self._members), self.channels)


def _narrowed(supernet: Supernet) -> Iterator[dict[str, LayerSpec]]:
    """The largest network with each of its choices at the least, one after the other."""
    space = supernet.space
    values = space.largest().values
    yield space.layers(space.largest())
    for choice in space.choices:
        if choice.name in values:
            yield space.layers(space.architecture(**{**values, choice.name: choice.options[0]}))


def _members(block: nn.Module, names: Iterable[tuple[str, int]]) -> tuple[tuple[Tensor, int], ...]:
    """Tensors of a block that it has, with their dimensions; the name of a norm stands for all of its vectors."""
    tensors = dict(block.named_parameters()) | dict(block.named_buffers())
    every = ((tensors.get(f"{name}{ending}"), dim) for name, dim in names for ending in ("", *VECTORS))
    return tuple((tensor, dim) for tensor, dim in every if tensor is not None)


def _readers(slot: str, block: nn.Module, modules: Iterable[str]) -> tuple[Reader, ...]:
    """Those of the modules that the block has."""
    own = dict(block.named_modules())
    found = []
    for name in modules:
        if name in own:
            module = own[name]
            assert isinstance(module, nn.Linear | nn.Conv2d)
            found.append(Reader(slot, name, module.weight))
    return tuple(found)


def order_by_importance(
    supernet: Supernet, batches: Iterable[Tensor | Inputs] = (), score: str = "activation"
) -> dict[str, list[int]]:
    """Put the most important neurons, heads and channels first; outputs of the largest network stay.

    Narrower networks that were trained before are others afterwards.

    Args:
        batches, score: as in `orders_by_importance`.

    Returns:
        For `slot.field`, the old index of each group in its new order.

    Raises:
        ValueError: an unknown score, or `activation` without a batch.
    """
    found = list(axes(supernet))
    orders = _orders(supernet, found, batches, score)
    _permute(found, orders, nothing_beside)
    return {f"{axis.slot}.{axis.field}": order for axis, order in zip(found, orders, strict=True)}


def orders_by_importance(
    supernet: Supernet, batches: Iterable[Tensor | Inputs] = (), score: str = "activation"
) -> list[list[int]]:
    """For each of `axes`, the indices of its groups, the most important first.

    A group's score is its contribution to what reads it: the mean over all positions of the norm of
    the group's outputs times the weights that read them, summed over all readers. For a neuron or a channel that is
    mean |activation| times the norm of its outgoing weights; for a key-value group, the norm of its heads' part of
    the attention's output. Without data the score is the norm of the outgoing weights times that of the incoming ones.

    Args:
        batches: inputs for the score `activation`; of padded text with a mask, False at padding, which does not
            count. A few hundred samples are plenty.
        score: `activation` or `weight`.

    Raises:
        ValueError: an unknown score, or `activation` without a batch.
    """
    return _orders(supernet, list(axes(supernet)), batches, score)


def _orders(supernet: Supernet, found: list[Axis], batches: Iterable[Tensor | Inputs], score: str) -> list[list[int]]:
    if score not in SCORES:
        raise ValueError(f"No score {score!r}. Known: {', '.join(SCORES)}.")
    scores = [_weight_score(axis) for axis in found]
    if score == "activation":
        scores = _contributions(supernet, found, batches)
    return [torch.argsort(values, descending=True, stable=True).tolist() for values in scores]


def nothing_beside(_tensor: Tensor) -> Iterable[Tensor]:
    """No tensor has the order of another one."""
    return ()


def put_in_order(
    supernet: Supernet,
    orders: Iterable[Sequence[int]],
    beside: Callable[[Tensor], Iterable[Tensor]] = nothing_beside,
) -> None:
    """Permute groups; outputs of the largest network stay.

    Args:
        orders: what `orders_by_importance` gave for a supernet of the same space.
        beside: gives tensors that are permuted with a parameter or buffer of their shape, such as an optimizer's
            moments.
    """
    _permute(list(axes(supernet)), orders, beside)


@torch.no_grad()
def _permute(
    found: Sequence[Axis], orders: Iterable[Sequence[int]], beside: Callable[[Tensor], Iterable[Tensor]]
) -> None:
    for axis, indices in zip(found, orders, strict=True):
        for member, dim in axis.members:
            order = torch.tensor(indices, device=member.device)
            for tensor in (member, *beside(member)):
                grouped = tensor.unflatten(dim, (axis.groups, -1))
                tensor.copy_(grouped.index_select(dim, order).flatten(dim, dim + 1))


def _weight_score(axis: Axis) -> Tensor:
    reading = {id(reader.weight) for reader in axis.readers}
    outgoing, incoming = torch.zeros(axis.groups), torch.zeros(axis.groups)
    for tensor, dim in axis.members:
        if tensor.dim() < 2:
            continue
        squares = tensor.detach().float().unflatten(dim, (axis.groups, -1)).movedim(dim, 0).flatten(1).pow(2).sum(1)
        if dim == 1 and id(tensor) in reading:
            outgoing = outgoing.to(squares) + squares
        else:
            incoming = incoming.to(squares) + squares
    return (outgoing * incoming).sqrt()


def _whole(supernet: Supernet) -> Network:
    """The network that has all weights, with the shortcuts of the largest network."""
    largest = supernet.layers(supernet.space.largest())
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for name in supernet.slots:
        slot = supernet.slot(name)
        spec, capacity = largest.get(name, slot.capacity), slot.capacity.fields()
        other_shortcut = spec != slot.capacity and all(
            value == capacity[field]
            for field, value in spec.fields().items()
            if field not in spec.free and not isinstance(value, bool)
        )
        blocks[name] = slot.extract(spec, shares=True) if other_shortcut else slot.block
    return Network(blocks).eval()


def _contributions(supernet: Supernet, found: list[Axis], batches: Iterable[Tensor | Inputs]) -> list[Tensor]:
    """Mean norm, over all positions of all batches, of what each group adds to what reads it, summed over readers."""
    network, slots = _whole(supernet), list(supernet.slots)
    watched = [
        (index, reader, dict(network[slots.index(reader.slot)].named_modules()).get(reader.name))
        for index, axis in enumerate(found)
        for reader in axis.readers
    ]
    totals = [torch.zeros(found[index].groups, dtype=torch.float64) for index, _, _ in watched]
    positions = [0] * len(watched)
    mask_BT: Tensor | None = None

    def watch(number: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        index, reader, _ = watched[number]
        groups, weight = found[index].groups, reader.weight.detach()
        columns_GDC = weight.flatten(1).unflatten(1, (groups, -1)).movedim(1, 0)

        def look(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            given = inputs[0].movedim(1, -1) if weight.dim() == 4 else inputs[0]
            counted = given.flatten(0, -2) if mask_BT is None else given[mask_BT]
            parts_PGC = counted.unflatten(-1, (groups, -1))
            if parts_PGC.shape[-1] == 1:  # a neuron: |activation| times the norm of its column
                norms = parts_PGC[..., 0].abs().double().sum(0) * columns_GDC.flatten(1).norm(dim=1)
            else:
                per_group = [(parts_PGC[:, g] @ columns_GDC[g].T).norm(dim=-1).double().sum() for g in range(groups)]
                norms = torch.stack(per_group)
            totals[number] += norms.cpu()
            positions[number] += len(parts_PGC)

        return look

    was_training = supernet.training
    supernet.eval()
    hooks = [
        module.register_forward_pre_hook(watch(number))
        for number, (_, _, module) in enumerate(watched)
        if module is not None
    ]
    try:
        with torch.no_grad():
            for batch in batches:
                inputs = named(batch)
                mask_BT = inputs.get(MASK)
                network(*inputs.values())
    finally:
        for hook in hooks:
            hook.remove()
        supernet.train(was_training)
    if not any(positions):
        raise ValueError("Ordering by activation needs at least one batch of inputs; give some, or score by weight.")
    scores: list[Tensor | None] = [None] * len(found)
    for (index, _, _), total, count in zip(watched, totals, positions, strict=True):
        if count:
            known = scores[index]
            scores[index] = total / count if known is None else known + total / count
    # What no example reaches, such as an expert that none chooses, is scored by its weights.
    return [score if score is not None else _weight_score(axis) for score, axis in zip(scores, found, strict=True)]
