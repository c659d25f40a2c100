"""Weights, gradients and optimizer state of a large supernet, spread over processes (FSDP2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from torch import Tensor
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from supernet.network import Supernet


def shard(supernet: Supernet) -> None:
    """Spread every slot's weights over the processes of the default group.

    Slots that share a weight, such as a Llama's embedding and its head, keep whole copies in every process:
    FSDP2 spreads a shared weight only where the modules that share it run one after the other. Weights stay
    gathered between a block's forward and backward pass, because a sub-network's slices are bound to them when
    it runs (docs/decisions/0003); gradients and the optimizer's state are always spread. Gradients are summed
    over processes, as `Group.add_gradients` sums those of whole copies.
    """
    slots = [supernet.slot(name) for name in supernet.slots]
    uses = Counter(id(parameter) for slot in slots for parameter in slot.parameters())
    for slot in slots:
        mine = list(slot.parameters())
        if mine and all(uses[id(parameter)] == 1 for parameter in mine):
            sharded = fully_shard(slot, reshard_after_forward=False)
            assert isinstance(sharded, FSDPModule)
            sharded.set_gradient_divide_factor(1.0)
            sharded.set_force_sum_reduction_for_comms(True)  # gloo has no other reduction


def gathered(tensors: dict[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Tensors with those that are spread over processes made whole; every process must call it.

    Args:
        keep: whether this process wants them; the others help and get nothing.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        # One at a time, and to the machine's memory: whole weights may not fit beside the shards on a device.
        whole = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        if keep:
            found[name] = whole
    return found


def spread(whole: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, which every process has, spread as another one is."""
    if not isinstance(like, DTensor):
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def spread_all(tensors: dict[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`spread` for every tensor whose name the other ones have."""
    return {name: spread(tensor, like[name]) if name in like else tensor for name, tensor in tensors.items()}
