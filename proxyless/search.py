"""PathSearch: weight steps and architecture steps in turn, with exact resume."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxyless.expected_latency import Latencies, to_budget
from proxyless.parameters import ArchitectureParameters
from proxyless.steps import ArchitectureStep
from supernet.data.dataset import Split
from supernet.methods.proxylessnas.method import ProxylessNAS
from supernet.randomness import derived_rng
from supernet.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Turns:
    """When the architecture is updated.

    Attributes:
        first_epoch: weight steps alone before that; 1 in the paper's code.
        every: weight steps for `steps` architecture steps; 5 for 1 in the paper's code.
        steps: architecture steps at a time.
        batch_size: held-out examples of one of them.
    """

    first_epoch: int = 1
    every: int = 5
    steps: int = 1
    batch_size: int = 256


@dataclass(frozen=True, slots=True)
class Budget:
    """A hard budget: the expected latency is driven to it and kept there.

    Attributes:
        budget_ms: what is expected in the end.
        approach: share of the architecture steps in which the expectation goes there, in equal parts, from where
            it was; jumping there would decide blocks before their candidates have learned anything.
    """

    latencies: Latencies
    budget_ms: float
    approach: float = 0.5

    def goal_ms(self, done: float, start_ms: float) -> float:
        """What to expect when this share of the architecture steps is done."""
        gone = 1.0 if self.approach <= 0 else min(1.0, done / self.approach)
        return start_ms + gone * (self.budget_ms - start_ms)


class PathSearch:
    """Trains an over-parameterised network and its architecture parameters; saved and resumed like a trainer.

    Everything random about a step is derived from the seed and its number, so its state is its tensors and the
    number of weight steps done.

    Args:
        trainer: trainer of the weights, with `ProxylessNAS` as its method; its network is of a `separated` space.
        step: what takes the architecture's steps.
        held_out: what the architecture learns from, without augmentation.
        budget: None where the loss has a latency term, or none is wanted.
    """

    def __init__(
        self,
        trainer: Trainer,
        parameters: ArchitectureParameters,
        step: ArchitectureStep,
        held_out: Split,
        turns: Turns,
        budget: Budget | None = None,
    ) -> None:
        assert isinstance(trainer.method, ProxylessNAS)
        trainer.method.follow(lambda rng: parameters.architecture(parameters.draw(rng)))
        self.trainer, self.parameters, self.budget = trainer, parameters, budget
        self._architecture_step, self._held_out, self._turns = step, held_out, turns
        self._batch_size = min(turns.batch_size, len(held_out))
        self._start_ms = 0.0 if budget is None else float(budget.latencies.expected(self._distribution()))

    @property
    def steps_done(self) -> int:
        """Weight steps done."""
        return self.trainer.steps_done

    @property
    def num_steps(self) -> int:
        """Weight steps in all."""
        return self.trainer.num_steps

    @property
    def rate_factor(self) -> float:
        """Scales the learning rate of the weights."""
        return self.trainer.rate_factor

    @rate_factor.setter
    def rate_factor(self, factor: float) -> None:
        self.trainer.rate_factor = factor

    @property
    def micro_batches(self) -> int:
        """Into which a batch of a weight step is cut."""
        return self.trainer.micro_batches

    @micro_batches.setter
    def micro_batches(self, count: int) -> None:
        self.trainer.micro_batches = count

    def architecture_steps(self, steps_done: int) -> int:
        """Architecture steps that belong to so many weight steps."""
        after = steps_done - self._turns.first_epoch * self.trainer.steps_per_epoch
        return max(0, after // self._turns.every) * self._turns.steps

    def step(self) -> dict[str, float]:
        """One weight step, and the architecture steps whose turn it then is.

        Raises:
            NonFiniteLoss: the weight step was not applied; go back to a checkpoint.
        """
        before = self.architecture_steps(self.steps_done)
        shown = self.trainer.step()
        for number in range(before, self.architecture_steps(self.steps_done)):
            shown |= self.architecture_step(number)
        return shown

    def architecture_step(self, number: int) -> dict[str, float]:
        """The architecture step of this number, from 0."""
        trainer = self.trainer
        batch = self._held_out.batch(self._batch(number), trainer.device)
        shown = self._architecture_step.step(batch, derived_rng(trainer.seed, "gates", number))
        trainer.supernet.zero_grad(set_to_none=True)
        if self.budget is not None:
            done = (number + 1) / max(1, self.architecture_steps(self.num_steps))
            to_budget(self.parameters.alphas, self.budget.latencies, self.budget.goal_ms(done, self._start_ms))
        return shown

    def _batch(self, number: int) -> Tensor:
        per_epoch = max(1, len(self._held_out) // self._batch_size)
        epoch, within = divmod(number, per_epoch)
        order = derived_rng(self.trainer.seed, "held-out batches", epoch).permutation(len(self._held_out))
        chosen = torch.from_numpy(order[within * self._batch_size :][: self._batch_size])
        return chosen.to(self._held_out.y.device)

    def _distribution(self) -> list[Tensor]:
        return [alpha.detach().softmax(0) for alpha in self.parameters.alphas]

    # --- exact resume ---------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint stores besides `steps_done`."""
        return {
            **self.trainer.tensors(),
            **{f"alpha.{name}": value for name, value in self.parameters.tensors().items()},
            **{f"alpha_step.{name}": value for name, value in self._architecture_step.tensors().items()},
            "alpha_start_ms": torch.tensor(self._start_ms, dtype=torch.float64),
        }

    def restore(self, tensors: dict[str, Tensor], steps_done: int) -> None:
        """Continue from what `tensors` gave after `steps_done` weight steps."""

        def below(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self.parameters.restore(below("alpha."))
        self._architecture_step.restore(below("alpha_step."))
        self._start_ms = float(tensors["alpha_start_ms"])
        rest = {name: value for name, value in tensors.items() if not name.startswith("alpha")}
        self.trainer.restore(rest, steps_done)
