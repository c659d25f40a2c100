"""What a network scores on a split of data."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from supernet.data import Split
from supernet.losses import task_loss

# Images of at most 64x64 pixels in one forward pass of an evaluation; fewer of larger ones.
BATCH = 512
# Tokens in one forward pass: with 32,000 tokens in the vocabulary their logits take half a gigabyte.
TOKENS = 4096


def accuracy(network: nn.Module, split: Split) -> float:
    """Share of correct top-1 predictions, between 0 and 1. The network is left in evaluation mode."""
    correct = sum(int((logits.argmax(-1) == targets).sum()) for logits, targets in _answers(network, split))
    return correct / len(split)


def perplexity(network: nn.Module, split: Split) -> float:
    """exp of the mean cross-entropy of a token, at least 1. The network is left in evaluation mode."""
    total, tokens = 0.0, 0
    for logits, targets in _answers(network, split):
        total += float(task_loss(logits, targets)) * targets.numel()
        tokens += targets.numel()
    # exp() of more than 709 is no number any more; a network that bad is bad enough at this.
    return math.exp(min(total / tokens, 700.0))


def score(network: nn.Module, split: Split) -> float:
    """Perplexity of a language model, accuracy of anything else."""
    return perplexity(network, split) if split.is_language else accuracy(network, split)


def _answers(network: nn.Module, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
    network.eval()
    like = next(network.parameters(), None)
    size = batch_size(split)
    with torch.no_grad():
        for start in range(0, len(split), size):
            batch = split.batch(slice(start, start + size))
            if like is not None:
                batch = batch.to(like.device)
            logits = network(batch.inputs) if batch.mask is None else network(batch.inputs, batch.mask)
            yield logits, batch.targets


def batch_size(split: Split) -> int:
    """Examples in one forward pass."""
    shape = split.stored.shape
    if len(shape) == 4:
        return max(1, min(BATCH, BATCH * 64 * 64 // (shape[2] * shape[3])))
    if split.is_language or split.lengths is not None:
        return max(1, TOKENS // shape[1])
    return BATCH
