"""One architecture, trained plainly: the baseline of every method, and fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.data.dataset import Batch
from supernet.network import Supernet
from supernet.passes import Passes, Regularisation


@dataclass(frozen=True, slots=True)
class Single:
    """A step trains one architecture on labels.

    Weights of the supernet outside it keep their initial values.

    Attributes:
        architecture: `largest`, `smallest`, or genes such as `0,2,1`, one per choice of the space.
        label_smoothing: of the loss.
        dropout, drop_connect: of every pass.
    """

    architecture: str = "largest"
    label_smoothing: float = 0.0
    dropout: float = 0.0
    drop_connect: float = 0.0

    def prepare(self, supernet: Supernet) -> None:
        """Zero the last scale of every residual block, as for the supernet that it is compared with."""
        supernet.zero_last_scales()

    def chosen(self, space: SearchSpace) -> Architecture:
        """The architecture that is trained.

        Raises:
            ValueError: it is neither a known word nor genes of the space.
        """
        if self.architecture in ("largest", "smallest"):
            return space.largest() if self.architecture == "largest" else space.smallest()
        try:
            genes = [int(gene) for gene in self.architecture.split(",")]
        except ValueError:
            raise ValueError(
                f"training.options.architecture is {self.architecture!r}; give largest, smallest, or "
                f"{len(space.choices)} genes such as 0,2,1."
            ) from None
        return space.from_genes(genes)

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Add one step's gradients to `.grad` and return the loss."""
        regularisation = Regularisation(self.dropout, self.drop_connect)
        output = passes.run(batch, self.chosen(passes.space), regularisation)
        loss = passes.task_loss(output, batch, self.label_smoothing)
        passes.backward(loss)
        return {"loss_largest" if self.architecture == "largest" else "loss_chosen": loss.detach()}


METHOD = Single
