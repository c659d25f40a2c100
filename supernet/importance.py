"""Importance ordering: an exact permutation of a pretrained network, so that its prefixes are its best parts.

A narrower sub-network keeps the first neurons and the first groups of heads. In a pretrained network the
order of those is arbitrary; it may be changed at will, because what a layer computes is a sum over them.
Ordering by importance before training is what makes width elastic at no loss (DynaBERT, arXiv 2004.04037,
section 2.2; here with scores that need no gradient).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_space.inputs import MASK
from supernet.inputs import Inputs, named
from supernet.network import Network, Supernet

SCORES = ("activation", "weight")


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of one block along which groups may be permuted.

    Attributes:
        slot, field: where it is, and the field of the spec that counts its groups.
        reader: the linear module (or convolution) whose inputs are the groups' outputs.
        members: every tensor that has the axis, with its dimension.
        groups: number of groups: neurons, heads, or key-value heads with their queries.
    """

    slot: str
    field: str
    reader: nn.Linear | nn.Conv2d
    members: tuple[tuple[Tensor, int], ...]
    groups: int


def axes(supernet: Supernet) -> Iterator[Axis]:
    """Every permutable axis of a supernet, as its blocks declare them in `axes`."""
    for slot in supernet.slots:
        block, capacity = supernet.slot(slot).block, supernet.slot(slot).capacity
        tensors = dict(block.named_parameters()) | dict(block.named_buffers())
        for field, reader, names in getattr(block, "axes", ()):
            linear = block.get_submodule(reader)
            assert isinstance(linear, nn.Linear | nn.Conv2d)
            members = tuple((tensors[name], dim) for name, dim in names if name in tensors)
            yield Axis(slot, field, linear, members, int(capacity.fields()[field]))


def order_by_importance(
    supernet: Supernet, batches: Iterable[Tensor | Inputs] = (), score: str = "activation"
) -> dict[str, list[int]]:
    """Put the most important neurons and heads of every layer first; outputs of the largest network stay.

    A group's score is its contribution to what its layer adds: the mean over all positions of the norm of
    the group's outputs times the weights that read them. For a neuron that is mean |activation| times the
    norm of its outgoing weights; for a key-value group, the norm of its heads' part of the attention's
    output. Without data the score is the norm of the outgoing weights times that of the incoming ones.

    Args:
        batches: inputs for the score `activation`; of padded text with a mask, False at padding, which does not
            count. A few hundred samples are plenty.
        score: `activation` or `weight`.

    Returns:
        For `slot.field`, the old index of each group in its new order.

    Raises:
        ValueError: an unknown score, or `activation` without a batch.
    """
    if score not in SCORES:
        raise ValueError(f"No score {score!r}. Known: {', '.join(SCORES)}.")
    found = list(axes(supernet))
    scores = [_weight_score(axis) for axis in found]
    if score == "activation":
        scores = _contributions(supernet, found, batches)
    orders: dict[str, list[int]] = {}
    with torch.no_grad():
        for axis, values in zip(found, scores, strict=True):
            order = torch.argsort(values, descending=True, stable=True)
            for tensor, dim in axis.members:
                grouped = tensor.unflatten(dim, (axis.groups, -1))
                tensor.copy_(grouped.index_select(dim, order).flatten(dim, dim + 1))
            orders[f"{axis.slot}.{axis.field}"] = order.tolist()
    return orders


def _weight_score(axis: Axis) -> Tensor:
    outgoing: Tensor | None = None
    incoming: Tensor | None = None
    for tensor, dim in axis.members:
        if tensor.dim() < 2:
            continue
        squares = tensor.detach().float().unflatten(dim, (axis.groups, -1)).movedim(dim, 0).flatten(1).pow(2).sum(1)
        if tensor is axis.reader.weight:
            outgoing = squares
        else:
            incoming = squares if incoming is None else incoming + squares
    assert outgoing is not None
    assert incoming is not None
    return (outgoing * incoming).sqrt()


def _contributions(supernet: Supernet, found: list[Axis], batches: Iterable[Tensor | Inputs]) -> list[Tensor]:
    """Mean norm, over all positions of all batches, of what each group adds to its layer's output."""
    totals = [torch.zeros(axis.groups, dtype=torch.float64) for axis in found]
    positions = [0] * len(found)
    mask_BT: Tensor | None = None

    def watch(index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        axis = found[index]
        columns_GDC = axis.reader.weight.detach().flatten(1).unflatten(1, (axis.groups, -1)).movedim(1, 0)

        def look(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            given = inputs[0].movedim(1, -1) if isinstance(axis.reader, nn.Conv2d) else inputs[0]
            counted = given.flatten(0, -2) if mask_BT is None else given[mask_BT]
            parts_PGC = counted.unflatten(-1, (axis.groups, -1))
            if parts_PGC.shape[-1] == 1:  # a neuron: |activation| times the norm of its column
                norms = parts_PGC[..., 0].abs().double().sum(0) * columns_GDC.flatten(1).norm(dim=1)
            else:
                per_group = [
                    (parts_PGC[:, g] @ columns_GDC[g].T).norm(dim=-1).double().sum() for g in range(axis.groups)
                ]
                norms = torch.stack(per_group)
            totals[index] += norms.cpu()
            positions[index] += len(parts_PGC)

        return look

    was_training = supernet.training
    supernet.eval()
    network = Network(OrderedDict((slot, supernet.slot(slot).block) for slot in supernet.slots)).eval()
    hooks = [axis.reader.register_forward_pre_hook(watch(i)) for i, axis in enumerate(found)]
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
    # What no example reaches, such as an expert that none chooses, is scored by its weights.
    return [
        total / count if count else _weight_score(axis)
        for axis, total, count in zip(found, totals, positions, strict=True)
    ]
