"""Architecture parameters: one logit per candidate of every block, and what follows from them.

They are a few hundred numbers: in float64 on the CPU, whatever the device of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from search_space.architecture import Architecture
from search_space.operations import SearchedBlock
from search_space.space import SearchSpace
from supernet.randomness import derived_rng

# The paper's code starts from N(0, 1e-3) (mit-han-lab/proxylessnas).
INITIAL_SPREAD = 1e-3


class ArchitectureParameters:
    """Logits alpha of every block, and the distribution p = softmax(alpha) over networks that they are.

    Args:
        space: space of the networks.
        blocks: those with a choice, in forward order.
        seed: seed of the initial logits.

    Attributes:
        alphas: a leaf tensor per block, shape (number of its options,), float64.
    """

    def __init__(self, space: SearchSpace, blocks: Sequence[SearchedBlock], seed: int) -> None:
        self.space, self.blocks = space, tuple(blocks)
        rng = derived_rng(seed, "architecture parameters", 0)
        self.alphas = [
            torch.from_numpy(rng.normal(0, INITIAL_SPREAD, len(block.options))).requires_grad_() for block in blocks
        ]

    def probabilities(self) -> list[np.ndarray]:
        """Probability of every option of every block, float64, each of shape (number of options,)."""
        return [alpha.detach().softmax(0).numpy() for alpha in self.alphas]

    def entropies(self) -> list[float]:
        """Entropy of every block's probabilities, in nats; 0 where one option has won."""
        return [float(-(p * np.log(np.maximum(p, np.finfo(float).tiny))).sum()) for p in self.probabilities()]

    def draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        """One path: an option of every block, by its probability."""
        return tuple(int(rng.choice(len(p), p=p)) for p in self.probabilities())

    def draw_pair(self, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Two different options of every block, drawn without replacement; of the pair, the first is the active one.

        Which of the two is active is drawn by their probabilities within the pair (arXiv 1812.00332, 3.2.1).
        """
        pairs = []
        for p in self.probabilities():
            # So that a block that has all but decided still has two options with a probability.
            p = np.maximum(p, 1e-12)
            first, second = (int(option) for option in rng.choice(len(p), 2, replace=False, p=p / p.sum()))
            if rng.random() >= p[first] / (p[first] + p[second]):
                first, second = second, first
            pairs.append((first, second))
        return pairs

    def most_likely(self) -> tuple[int, ...]:
        """The option with the highest probability, of every block."""
        return tuple(int(alpha.argmax()) for alpha in self.alphas)

    def architecture(self, path: Sequence[int]) -> Architecture:
        """The network of these options; other choices of the space have one option."""
        chosen = {block.choice: block.options[option] for block, option in zip(self.blocks, path, strict=True)}
        rest = {choice.name: choice.options[0] for choice in self.space.choices if choice.name not in chosen}
        return self.space.architecture(**rest, **chosen)

    def log_probability(self, path: Sequence[int]) -> Tensor:
        """log of the probability of a path, differentiable."""
        return torch.stack([a.log_softmax(0)[i] for a, i in zip(self.alphas, path, strict=True)]).sum()

    # --- exact resume ---------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """The logits as a flat dict."""
        return {str(position): alpha.detach().clone() for position, alpha in enumerate(self.alphas)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Set the logits to what `tensors` gave."""
        with torch.no_grad():
            for position, alpha in enumerate(self.alphas):
                alpha.copy_(tensors[str(position)])
