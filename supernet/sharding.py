"""Weights, gradients and optimizer state of a large supernet, spread over processes (FSDP2)."""

from __future__ import annotations

from torch.distributed.fsdp import FSDPModule, fully_shard

from supernet.network import Supernet


def shard(supernet: Supernet) -> None:
    """Spread every slot's weights over the processes of the default group.

    Weights stay gathered between a block's forward and backward pass, because a sub-network's slices are
    bound to them when it runs (docs/decisions/0003); gradients and the optimizer's state are always spread.
    Gradients are summed over processes, as `Group.add_gradients` sums them.

    Raises:
        ValueError: two slots share a parameter, which cannot be spread over two groups of weights.
    """
    owners: dict[int, str] = {}
    for name in supernet.slots:
        for parameter in supernet.slot(name).parameters():
            other = owners.setdefault(id(parameter), name)
            if other != name:
                raise ValueError(f"Slots {other!r} and {name!r} of {supernet.space.name} share a weight; untie them.")
    for name in supernet.slots:
        slot = supernet.slot(name)
        if next(slot.parameters(), None) is not None:
            sharded = fully_shard(slot, reshard_after_forward=False)
            assert isinstance(sharded, FSDPModule)
            sharded.set_gradient_divide_factor(1.0)
            sharded.set_force_sum_reduction_for_comms(True)  # gloo has no other reduction
