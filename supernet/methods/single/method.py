"""One architecture, trained plainly: the baseline of every method, and fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.data.dataset import Batch
from supernet.methods.single.options import SingleOptions
from supernet.network import Supernet
from supernet.passes import Passes, Regularisation


@dataclass(frozen=True, slots=True)
class Single:
    """A step trains one architecture on labels.

    Weights of the supernet outside it keep their initial values.
    """

    options: SingleOptions = field(default_factory=SingleOptions)

    def prepare(self, supernet: Supernet) -> None:
        """Zero the last scale of every residual block, as for the supernet that it is compared with.

        Raises:
            ValueError: networks that cannot honour the options.
        """
        self.options.check(supernet.space)
        supernet.zero_last_scales()

    def chosen(self, space: SearchSpace) -> Architecture:
        """The architecture that is trained.

        Raises:
            ValueError: it is neither a known word nor genes of the space.
        """
        if self.options.architecture in ("largest", "smallest"):
            return space.largest() if self.options.architecture == "largest" else space.smallest()
        try:
            genes = [int(gene) for gene in self.options.architecture.split(",")]
        except ValueError:
            raise ValueError(
                f"training.options.architecture is {self.options.architecture!r}; give largest, smallest, or "
                f"{len(space.choices)} genes such as 0,2,1."
            ) from None
        return space.from_genes(genes)

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Add one step's gradients to `.grad` and return the loss."""
        regularisation = Regularisation(self.options.dropout, self.options.drop_connect)
        output = passes.run(batch, self.chosen(passes.space), regularisation)
        loss = passes.task_loss(output, batch, self.options.label_smoothing)
        passes.backward(loss)
        return {"loss_largest" if self.options.architecture == "largest" else "loss_chosen": loss.detach()}


METHOD = Single
