"""Alternating fine-tuning: LLaMA-NAS (arXiv 2405.18377), and InstaTune's loss (arXiv 2308.15609) on request."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.data.dataset import Batch
from supernet.losses import divergence
from supernet.methods.alternating.options import AlternatingOptions
from supernet.network import Supernet
from supernet.passes import Output, Passes


@dataclass(slots=True)
class Alternating:
    """Even steps train the full network, odd steps one random sub-network, each on labels alone.

    LLaMA-NAS leaves out InstaTune's teachers because they do not fit in memory. With `alpha` below 1 every
    step has InstaTune's loss instead, with the full network S, random sub-networks S_i and teacher T:

        alpha (CE(S) + sum_i CE(S_i)) + (1 - alpha) (gamma KL(S, T) + sum_i ((1 - gamma) KL(S_i, S) + gamma KL(S_i, T)))
    """

    options: AlternatingOptions = field(default_factory=AlternatingOptions)
    _teacher: Passes | None = field(default=None, init=False, repr=False, compare=False)

    def prepare(self, supernet: Supernet) -> None:
        """Keep a frozen copy where one is to teach; the weights stay as they were loaded."""
        if self.options.alpha < 1 and self.options.gamma == 1:
            teacher = copy.deepcopy(supernet).eval().requires_grad_(False)
            self._teacher = Passes(teacher)

    def architectures(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
        """The full network, and what is drawn beside it."""
        return [
            space.largest(),
            *(space.sample(rng) for _ in range(self.options.num_random if self.options.alpha < 1 else 1)),
        ]

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Add one step's gradients to `.grad` and return the cross-entropy of each member.

        Args:
            rng: decides the random sub-networks.
        """
        full, *drawn = self.architectures(passes.space, rng)
        if self.options.alpha == 1:
            turn = passes.step % 2
            output = passes.run(batch, drawn[0] if turn else full)
            loss = passes.task_loss(output, batch, self.options.label_smoothing)
            passes.backward(loss)
            return {"loss_random" if turn else "loss_largest": loss.detach()}
        return self._instatune(passes, batch, full, drawn)

    def _instatune(
        self, passes: Passes, batch: Batch, full: Architecture, drawn: list[Architecture]
    ) -> dict[str, Tensor]:
        strong = self._taught(batch, full)
        output = passes.run(batch, full)
        label_loss = passes.task_loss(output, batch, self.options.label_smoothing)
        total = self.options.alpha * label_loss
        if strong is not None:
            total = total + (1 - self.options.alpha) * self._divergence(output, strong)
        passes.backward(total)
        # Both terms of a student have one teacher each, because gamma is 0 or 1.
        teacher = strong if strong is not None else output.detach()
        losses = []
        for architecture in drawn:
            student = passes.run(batch, architecture)
            loss = passes.task_loss(student, batch, self.options.label_smoothing)
            passes.backward(self.options.alpha * loss + (1 - self.options.alpha) * self._divergence(student, teacher))
            losses.append(loss.detach())
        return {"loss_largest": label_loss.detach(), "loss_random": torch.stack(losses).mean()}

    def _divergence(self, student: Output, teacher: Output) -> Tensor:
        return student.mean_loss(lambda logits, taught: divergence(logits, taught, self.options.temperature), teacher)

    def _taught(self, batch: Batch, full: Architecture) -> Output | None:
        """What the strong teacher says; None without one."""
        if self.options.gamma == 0:
            return None
        assert self._teacher is not None, "prepare() was not called"
        with torch.no_grad():
            return self._teacher.run(batch, full)


METHOD = Alternating
