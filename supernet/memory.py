"""Out of memory: telling it from other errors, letting go of what is left, and finding what would fit."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from supernet.trainer import Trainer


class OutOfMemory(RuntimeError):
    """A step did not fit in the memory of this process or of another one; no weight was changed."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    return isinstance(error, torch.OutOfMemoryError | OutOfMemory) or "can't allocate memory" in str(error)


def free_memory(trainer: Trainer) -> None:
    """Let go of what a failed step left behind."""
    trainer.supernet.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def fits(trainer: Trainer, micro_batches: int) -> bool:
    """Whether the gradients of the next step fit in memory in so many parts. No weight is changed.

    With several processes each must ask for the same number, and all get the same answer.
    """
    try:
        trainer.try_step(micro_batches)
    except OutOfMemory:
        return False
    finally:
        free_memory(trainer)
    return True
