"""What a network scores on a split of data."""

from __future__ import annotations

import torch
from torch import nn

from supernet.data import Split

# Images in one forward pass of an evaluation.
BATCH = 512


def accuracy(network: nn.Module, split: Split) -> float:
    """Share of correct top-1 predictions, between 0 and 1. The network is left in evaluation mode."""
    network.eval()
    correct = 0
    with torch.no_grad():
        for start in range(0, len(split), BATCH):
            logits_NK = network(split.x[start : start + BATCH])
            correct += int((logits_NK.argmax(dim=1) == split.y[start : start + BATCH]).sum())
    return correct / len(split)
