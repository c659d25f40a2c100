"""Training of stitched networks (arXiv 2302.06586, section 3.4): one random network a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.data.dataset import Batch
from supernet.losses import divergence
from supernet.methods.stitching.options import STITCH, StitchingOptions
from supernet.network import Supernet
from supernet.passes import Output, Passes

# Draws until a network has a stitching layer; of the spaces of checkpoints nearly all have one.
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Stitching:
    """Every step trains one random network, on a stitched space each as likely as every other one.

    The paper's loss has a share of a larger teacher's answers; here the teacher is the largest anchor as it is in this
    step, without gradient. With frozen anchors only the stitching layers learn, and anchors alone are not drawn.
    """

    options: StitchingOptions = field(default_factory=StitchingOptions)

    def prepare(self, supernet: Supernet) -> None:
        """Check that there is something to train; the weights stay as they are.

        Raises:
            ValueError: anchors are frozen, and there are no stitching layers.
        """
        self.options.check(supernet.space)

    def architecture(self, space: SearchSpace, rng: np.random.Generator) -> Architecture:
        """The network of one step.

        Raises:
            ValueError: anchors are frozen, and the choices leave no network with a stitching layer.
        """
        for _ in range(DRAWS):
            drawn = space.sample(rng)
            if self.options.anchors == "tuned" or any(spec.kind == STITCH for spec in space.layers(drawn).values()):
                return drawn
        raise ValueError(f"None of {DRAWS} networks of {space.name} has a stitching layer; widen supernet.choices.")

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Add one step's gradients to `.grad` and return the loss.

        Args:
            rng: decides the network.
        """
        drawn, share = self.architecture(passes.space, rng), self.options.distillation
        with self._trained(passes.supernet):
            output = passes.run(batch, drawn)
            loss = passes.task_loss(output, batch, self.options.label_smoothing)
            whole = loss if not share else (1 - share) * loss + share * self._distance(passes, batch, output)
            passes.backward(whole)
        return {"loss_random": loss.detach()}

    def _distance(self, passes: Passes, batch: Batch, student: Output) -> Tensor:
        with torch.no_grad():
            teacher = passes.run(batch, passes.space.largest())
        return student.mean_loss(lambda logits, taught: divergence(logits, taught, 1.0), teacher.detach())

    @contextmanager
    def _trained(self, supernet: Supernet) -> Iterator[None]:
        """Inside, weights that are not to be trained ask for no gradient, which saves the passes through them."""
        if self.options.anchors == "tuned":
            yield
            return
        fixed = [
            parameter
            for slot in supernet.slots
            if supernet.slot(slot).capacity.kind != STITCH
            for parameter in supernet.slot(slot).parameters()
            if parameter.requires_grad
        ]
        for parameter in fixed:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in fixed:
                parameter.requires_grad_(True)


METHOD = Stitching
