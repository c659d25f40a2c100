"""Training examples that only the architecture parameters see."""

from __future__ import annotations

import numpy as np
import torch

from supernet.data.dataset import Split
from supernet.data.splitting import cut, held_out, without


def carve(train: Split, share: float, seed: int, name: str) -> tuple[Split, Split]:
    """(what the weights learn from, what the architecture learns from): each class, or the end of a text, is cut.

    The validation split stays unseen by both, so that networks can be ranked on it.

    Raises:
        DataError: one of the two would be empty.
    """
    if train.is_language:
        size = cut(len(train), share, name, "held-out")
        index = np.arange(len(train) - size, len(train))
    else:
        index = held_out(train.y.cpu().numpy(), share, seed, name, "held-out")
    rest = without(len(train), index)
    device = train.y.device
    return train.take(torch.from_numpy(rest).to(device)), train.take(torch.from_numpy(index).to(device))
