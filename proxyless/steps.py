"""Steps of the architecture parameters: by the gradient through gates, or by REINFORCE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from proxyless.expected_latency import Latencies, LatencyLoss, expected_latency
from proxyless.gates import Asked, GatedPasses, logit_gradient
from proxyless.parameters import ArchitectureParameters
from supernet.data.dataset import Batch
from supernet.passes import Passes

# No first moment: with one, options that were not drawn would keep drifting; so does the published code.
BETAS = (0.0, 0.999)


class ArchitectureStep(Protocol):
    """One update of the architecture parameters from one held-out batch."""

    def step(self, batch: Batch, rng: np.random.Generator) -> dict[str, float]:
        """Update; return what to show. `rng` decides what is drawn."""

    def tensors(self) -> dict[str, Tensor]:
        """State beside the logits, as a flat dict."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Set the state to what `tensors` gave."""


class LogitAdam:
    """Adam over the logits of every block."""

    def __init__(self, alphas: Sequence[Tensor], learning_rate: float) -> None:
        self._adam = torch.optim.Adam(list(alphas), learning_rate, betas=BETAS, eps=1e-8, weight_decay=0)

    def step(self, gradients: Sequence[Tensor]) -> None:
        """One update with these gradients."""
        for alpha, gradient in zip(self._adam.param_groups[0]["params"], gradients, strict=True):
            alpha.grad = gradient
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """Moments and counts as a flat dict."""
        state = self._adam.state_dict()["state"]
        return {f"{i}.{name}": torch.as_tensor(value) for i, values in state.items() for name, value in values.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Set them to what `tensors` gave."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        self._adam.load_state_dict({**self._adam.state_dict(), "state": state})


class GradientStep:
    """The paper's update: gates, latency and Adam; in two-path mode the rest of the distribution stands still.

    Args:
        passes: passes of the over-parameterised network.
        latencies: latencies of its candidates; None: nothing is known, and `loss` must not look.
        mode: `two`: two options of every block, drawn without replacement, are compared; `full`: all options are.
    """

    def __init__(
        self,
        passes: GatedPasses,
        parameters: ArchitectureParameters,
        latencies: Latencies,
        loss: LatencyLoss,
        learning_rate: float,
        mode: str = "two",
    ) -> None:
        self._passes, self._parameters, self._latencies, self._loss = passes, parameters, latencies, loss
        self._mode = mode
        self._adam = LogitAdam(parameters.alphas, learning_rate)

    def asked(self, rng: np.random.Generator) -> list[Asked]:
        """Which gate is open in every block, and which options are compared."""
        if self._mode == "two":
            return [Asked(active, (active, other)) for active, other in self._parameters.draw_pair(rng)]
        every = [tuple(range(len(block.options))) for block in self._parameters.blocks]
        return [Asked(active, options) for active, options in zip(self._parameters.draw(rng), every, strict=True)]

    def gradients(self, batch: Batch, asked: Sequence[Asked]) -> tuple[list[Tensor], dict[str, float]]:
        """dL/dalpha of every block, and the losses. The gradients of a block add up to 0."""
        alphas = self._parameters.alphas
        wanted = [one.wanted for one in asked]
        latency_ms = expected_latency(self._latencies, alphas, wanted)
        slopes: list[Tensor] = []
        value = []

        def loss_of(cross_entropy: Tensor) -> Tensor:
            """The loss as a function of the cross-entropy; its gradient by latency is taken beside it.

            The cross-entropy lives on the network's device, latency and logits on the CPU.
            """
            known = cross_entropy.detach().to("cpu", torch.float64).requires_grad_()
            loss = self._loss(known, latency_ms)
            by_entropy, *by_alpha = torch.autograd.grad(loss, [known, *alphas], allow_unused=True)
            slopes.extend(
                torch.zeros_like(alpha) if slope is None else slope
                for alpha, slope in zip(alphas, by_alpha, strict=True)
            )
            value.append(float(loss.detach()))
            return cross_entropy * float(by_entropy)

        cross_entropy, by_gate = self._passes.gate_gradients(batch, asked, loss_of)
        gradients = [
            slope + logit_gradient(alpha, gates, one.wanted)
            for slope, alpha, gates, one in zip(slopes, alphas, by_gate, asked, strict=True)
        ]
        return gradients, {"loss_architecture": value[0], "loss_held_out": cross_entropy}

    def step(self, batch: Batch, rng: np.random.Generator) -> dict[str, float]:
        """Draw, compare, update. A gradient that is not finite changes nothing."""
        asked = self.asked(rng)
        gradients, losses = self.gradients(batch, asked)
        if all(bool(gradient.isfinite().all()) for gradient in gradients):
            self.apply(gradients, asked)
        return losses

    def apply(self, gradients: Sequence[Tensor], asked: Sequence[Asked]) -> None:
        """Adam's update; then, in two-path mode, both logits of a pair are shifted by the same number.

        The shift log(sum exp new) - log(sum exp old) keeps the pair's share of the probability, so that options that
        were not drawn keep theirs (1812.00332, section 3.2.1).
        """
        alphas = self._parameters.alphas
        masses = [alpha.detach()[list(one.wanted)].logsumexp(0) for alpha, one in zip(alphas, asked, strict=True)]
        self._adam.step(gradients)
        if self._mode != "two":
            return
        with torch.no_grad():
            for alpha, one, mass in zip(alphas, asked, masses, strict=True):
                pair = list(one.wanted)
                alpha[pair] -= alpha[pair].logsumexp(0) - mass

    def tensors(self) -> dict[str, Tensor]:
        """Adam's state."""
        return self._adam.tensors()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Set Adam's state to what `tensors` gave."""
        self._adam.restore(tensors)


@dataclass(frozen=True, slots=True)
class LatencyReward:
    """accuracy * (reference / latency)^weight; weight 0.1 in the paper's code, accuracy from 0 to 1."""

    weight: float
    reference_ms: float

    def __call__(self, accuracy: float, latency_ms: float) -> float:
        """The reward of one network."""
        reward: float = accuracy * (self.reference_ms / latency_ms) ** self.weight
        return reward


class Reinforce:
    """REINFORCE over paths, for objectives without a gradient (1812.00332, section 3.3.1).

    gradient = mean over the drawn paths of -(reward - baseline) d log p(path) / d alpha. The baseline follows the mean
    reward, b += decay * (mean - b), from the first mean on; with the paper's 0.99 it is nearly the last mean.

    Args:
        rewards: rewards of paths on a batch, larger is better; any numbers.
        samples: paths of one update.
    """

    def __init__(
        self,
        parameters: ArchitectureParameters,
        rewards: Callable[[Batch, Sequence[tuple[int, ...]]], Sequence[float]],
        learning_rate: float,
        samples: int = 10,
        baseline_decay: float = 0.99,
    ) -> None:
        self._parameters, self._rewards = parameters, rewards
        self._samples, self._decay = samples, baseline_decay
        self._adam = LogitAdam(parameters.alphas, learning_rate)
        self.baseline: float | None = None

    def step(self, batch: Batch, rng: np.random.Generator) -> dict[str, float]:
        """Draw, score, update. A reward that is not finite counts as the worst of the batch."""
        paths = [self._parameters.draw(rng) for _ in range(self._samples)]
        rewards = np.array(self._rewards(batch, paths), dtype=float)
        finite = np.isfinite(rewards)
        if not finite.any():
            return {"reward": float("nan")}
        rewards[~finite] = rewards[finite].min()
        mean = float(rewards.mean())
        self.baseline = mean if self.baseline is None else self.baseline + self._decay * (mean - self.baseline)
        advantages = torch.from_numpy(rewards - self.baseline)
        log_p = torch.stack([self._parameters.log_probability(path) for path in paths])
        surrogate = -(advantages * log_p).mean()
        self._adam.step(torch.autograd.grad(surrogate, self._parameters.alphas))
        return {"reward": mean}

    def tensors(self) -> dict[str, Tensor]:
        """Adam's state and the baseline."""
        baseline = torch.tensor(float("nan") if self.baseline is None else self.baseline, dtype=torch.float64)
        return {**{f"adam.{name}": value for name, value in self._adam.tensors().items()}, "baseline": baseline}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Set them to what `tensors` gave."""
        kept = dict(tensors)
        baseline = float(kept.pop("baseline"))
        self.baseline = None if np.isnan(baseline) else baseline
        self._adam.restore({name.removeprefix("adam."): value for name, value in kept.items()})


def accuracies(
    passes: Passes, parameters: ArchitectureParameters
) -> Callable[[Batch, Sequence[tuple[int, ...]]], list[float]]:
    """How right paths are about a batch, from 0 to 1, with the batch's own statistics: what rewards are made of."""

    def of_paths(batch: Batch, paths: Sequence[tuple[int, ...]]) -> list[float]:
        passes.supernet.train()
        right = []
        with torch.no_grad():
            for path in paths:
                logits = passes.run(batch, parameters.architecture(path)).logits()
                right.append((logits.argmax(-1) == batch.targets).double().mean())
            return torch.stack(right).tolist() if right else []

    return of_paths
