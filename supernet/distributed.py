"""Several processes that share every batch: gradients are added up once a step.

DistributedDataParallel cannot do this: its hooks sit on parameters whose gradients a supernet fills without
passing through them, and a sandwich wants one exchange for its four passes (docs/decisions/0003).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

# Gradients are exchanged in buckets of about this many bytes: few large messages, little extra memory.
BUCKET_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of one training, all with the same weights.

    Attributes:
        rank: rank of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    def add(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes, the same on each."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def add_gradients(self, module: nn.Module) -> None:
        """Replace every gradient by its sum over all processes.

        All processes draw the same sub-networks, so the same parameters have gradients on each. The sum is
        taken in place, because sub-networks hold views of these gradients.
        """
        if self.size == 1:
            return
        # Sharded gradients (`supernet/sharding.py`) were summed in the backward pass.
        found = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        gradients = [gradient for gradient in found if not isinstance(gradient, DTensor)]
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            for gradient, summed in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(summed.view(gradient.shape))

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in some process; the same answer on each."""
        if self.size == 1:
            return flag
        return bool(self.add(torch.tensor(float(flag), device=device)) > 0)

    def broadcast(self, value: Tensor) -> Tensor:
        """The tensor that process 0 has."""
        if self.size > 1:
            dist.broadcast(value, 0)
        return value


ALONE = Group()


STOP, STEP, RESTORE, CUT, TRY, GATHER = range(6)


class Orders:
    """What process 0 tells the others to do next, so that all make the same steps.

    Args:
        device: device of the training, for the messages.
    """

    def __init__(self, group: Group, device: torch.device) -> None:
        self.group, self.device = group, device

    def step(self) -> None:
        """Do the next step."""
        self._say(STEP)

    def restore(self, checkpoint: int, rate_factor: float = 0.0) -> None:
        """Go to a stored checkpoint, or with 0 to the start; at this rate, or with 0 at the checkpoint's own."""
        self._say(RESTORE, checkpoint, rate_factor)

    def cut(self, micro_batches: int) -> None:
        """From now on cut batches into so many parts."""
        self._say(CUT, micro_batches)

    def try_step(self, micro_batches: int) -> None:
        """See whether a step in so many parts fits in memory."""
        self._say(TRY, micro_batches)

    def gather(self, whole_state: bool) -> None:
        """Give process 0 the weights that are spread over all, with the optimizer's state or without."""
        self._say(GATHER, whole_state)

    def stop(self) -> None:
        """The training is over."""
        self._say(STOP)

    def abandon(self) -> None:
        """The others cannot hear any more: they wait for this process inside a step that failed here."""
        self.group = ALONE

    def hear(self) -> tuple[int, int, float]:
        """The next order, in a process that is not the first: (what, its number, rate factor)."""
        what, number, rate_factor = self.group.broadcast(self._message()).tolist()
        return int(what), int(number), rate_factor

    def _say(self, what: int, number: int = 0, rate_factor: float = 0.0) -> None:
        if self.group.size > 1:
            self.group.broadcast(self._message(what, number, rate_factor))

    def _message(self, *values: float) -> Tensor:
        return torch.tensor(values or (0.0, 0.0, 0.0), dtype=torch.float64, device=self.device)


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and (size > BUCKET_BYTES or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.numel() * gradient.element_size()
    if bucket:
        yield bucket


def join() -> Group:
    """The group that torchrun started this process in; a group of one without torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return Group(dist.get_rank(), dist.get_world_size())
