"""What a language model says next: greedy continuations of a few texts, to compare a file's with the network's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# Texts, tokens of each that are given, and tokens that are asked for.
TEXTS, GIVEN, ASKED = 2, 8, 64


@dataclass(frozen=True, slots=True)
class Continuation:
    """Greedy tokens of a network.

    Attributes:
        prompts: (N, P) tokens that are given.
        tokens: (N, count) that follow.
        margins: (N, count): how far the next best token's logit is below.
    """

    prompts: np.ndarray
    tokens: np.ndarray
    margins: np.ndarray

    @property
    def count(self) -> int:
        """Tokens that are asked for after each text."""
        return int(self.tokens.shape[1])

    def compared(self, found: np.ndarray, allowed: float | None) -> dict[str, Any]:
        """How many tokens a file gives alike.

        Where two logits are nearer than rounding reaches, either may be the larger one; what follows is another text.

        Args:
            allowed: largest difference of a logit; None: it is not known, so any place may be a tie.

        Returns:
            `asked`, `same`; `tied`: tokens after a tie; `parted_at`: the first token that differs though it is no tie.
        """
        asked, same, tied, parted = int(self.tokens.size), 0, 0, None
        for mine, theirs, margin in zip(self.tokens, found, self.margins, strict=True):
            other = np.flatnonzero(mine != theirs[: len(mine)])
            first = int(other[0]) if len(other) else len(mine)
            same += first
            if first < len(mine):
                tied += len(mine) - first
                if allowed is not None and margin[first] > 2 * allowed:
                    parted = first if parted is None else min(parted, first)
        return {"asked": asked, "same": same, "tied": tied, "parted_at": parted}


def continuation(network: nn.Module, inputs: Tensor) -> Continuation | None:
    """Greedy tokens of a network of decoder layers, computed in float32; None where there is no room for any, or where
    no layer says how much there is.

    Args:
        inputs: (N, T) tokens of texts.
    """
    room = most_tokens(network)
    given = min(GIVEN, inputs.shape[1])
    count = 0 if room is None else min(ASKED, room - given)
    if count < 1:
        return None
    prompts = inputs[:TEXTS, :given].cpu()
    wide = in_float32(network)
    text, margins = prompts, []
    with torch.no_grad():
        for _ in range(count):
            top = wide(text)[:, -1].float().topk(2)
            margins.append(top.values[:, 0] - top.values[:, 1])
            text = torch.cat([text, top.indices[:, :1]], 1)
    return Continuation(prompts.numpy(), text[:, given:].numpy(), torch.stack(margins, 1).numpy())


def in_float32(network: nn.Module) -> nn.Module:
    """The network with float32 weights: itself, where it has them."""
    import copy

    from supernet.network import float_type_of

    return network if float_type_of(network) == torch.float32 else copy.deepcopy(network).float()


def most_tokens(network: nn.Module) -> int | None:
    """Positions that a network of decoder layers has; None: no layer says."""
    for block in network.children():
        config = getattr(block, "config", None)
        if isinstance(config, str):
            found = json.loads(config).get("max_position_embeddings")
            return None if found is None else int(found)
    return None
