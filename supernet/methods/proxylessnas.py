"""ProxylessNAS's weight steps (arXiv 1812.00332, section 3.2): each trains one path, drawn by its probability.

The steps of the architecture parameters, and the two in turn, are `supernet/proxyless`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.data.dataset import Batch
from supernet.network import Supernet
from supernet.passes import Passes
from supernet.proxyless.parameters import ArchitectureParameters


@dataclass(slots=True)
class ProxylessNAS:
    """A step draws one path, binarising the gates, and trains its weights on labels; no other path is in memory.

    Weights of other paths have no gradient in that step, so neither weight decay nor momentum moves them. Without
    architecture parameters every option is as likely, which is the paper's warm-up.

    Attributes:
        label_smoothing: of the loss; 0.1 in the paper's code.
    """

    label_smoothing: float = 0.1
    _parameters: ArchitectureParameters | None = field(default=None, init=False, repr=False, compare=False)

    def prepare(self, supernet: Supernet) -> None:
        """Leave the initial weights as they are."""

    def follow(self, parameters: ArchitectureParameters) -> None:
        """Draw paths by these parameters from now on."""
        self._parameters = parameters

    def architecture(self, space: SearchSpace, rng: np.random.Generator) -> Architecture:
        """The path of one step."""
        if self._parameters is None:
            return space.sample(rng)
        return self._parameters.architecture(self._parameters.draw(rng))

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Add one step's gradients to `.grad` and return the path's loss.

        Args:
            rng: decides the path.
        """
        output = passes.run(batch, self.architecture(passes.space, rng))
        loss = passes.task_loss(output, batch, self.label_smoothing)
        passes.backward(loss)
        return {"loss_path": loss.detach()}


METHOD = ProxylessNAS
