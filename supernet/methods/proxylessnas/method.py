"""ProxylessNAS's weight steps (arXiv 1812.00332, section 3.2): each trains one path, drawn by its probability.

The steps of the architecture parameters, and the two in turn, are the package `proxyless`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from torch import Tensor

from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.data.dataset import Batch
from supernet.methods.proxylessnas.options import ProxylessNASOptions
from supernet.network import Supernet
from supernet.passes import Passes

# Draws the path of one step.
Draw: TypeAlias = Callable[[np.random.Generator], Architecture]


@dataclass(slots=True)
class ProxylessNAS:
    """A step draws one path, binarising the gates, and trains its weights on labels; no other path is in memory.

    Weights of other paths have no gradient in that step, so neither weight decay nor momentum moves them. Without
    architecture parameters every option is as likely, which is the paper's warm-up.
    """

    options: ProxylessNASOptions = field(default_factory=ProxylessNASOptions)
    _draw: Draw | None = field(default=None, init=False, repr=False, compare=False)

    def prepare(self, supernet: Supernet) -> None:
        """Leave the initial weights as they are."""

    def follow(self, draw: Draw) -> None:
        """Draw paths so from now on."""
        self._draw = draw

    def architecture(self, space: SearchSpace, rng: np.random.Generator) -> Architecture:
        """The path of one step."""
        return space.sample(rng) if self._draw is None else self._draw(rng)

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Add one step's gradients to `.grad` and return the path's loss.

        Args:
            rng: decides the path.
        """
        output = passes.run(batch, self.architecture(passes.space, rng))
        loss = passes.task_loss(output, batch, self.options.label_smoothing)
        passes.backward(loss)
        return {"loss_path": loss.detach()}


METHOD = ProxylessNAS
