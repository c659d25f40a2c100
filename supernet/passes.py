"""Passes: how a training method runs sub-networks, whatever the precision, memory and regularisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from search_space.architecture import Architecture
from search_space.layers import LayerSpec
from search_space.space import SearchSpace
from supernet import losses
from supernet.data.dataset import Batch
from supernet.inputs import Flow
from supernet.network import Supernet
from supernet.options import SMOOTHED
from supernet.pairs import contrastive_loss, sigmoid_loss, similarities

# Logits of a language model that are held at once: 2**24 of them, 64 MB in float32. A Llama's vocabulary
# of 32,000 times a batch of 32 texts of 512 tokens would be 2 GB, and its gradient as much again.
LOGITS_AT_ONCE = 2**24


@dataclass(frozen=True, slots=True)
class Regularisation:
    """What only the largest network's pass gets (BigNAS, section 3.2).

    Attributes:
        dropout: probability that an input of the classifier is zeroed.
        drop_connect: probability that a residual branch of the last block is left out for an example; of earlier
            ones in proportion to their place (stochastic depth, arXiv 1603.09382). Only where a block's shortcut is
            its input (as in AttentiveNAS's code): those that `LayerSpec.branches` names.
        own_dropout: whether the dropouts that the network itself has, as BERT's configuration says, are on.
    """

    dropout: float = 0.0
    drop_connect: float = 0.0
    own_dropout: bool = True


# Of a network that is trained as it is.
PLAIN = Regularisation()
# Of every network but the largest: nothing is left out.
NONE = Regularisation(own_dropout=False)


class Output:
    """What a sub-network answers: logits, or for language models what its head will turn into logits.

    The logits of a large vocabulary are the largest tensor of a training, so they are computed part by part
    where a loss needs them, and again in the backward pass.

    Attributes:
        hidden: logits `(N, K)`, of pairs those of `similarities`; or what enters the head, `(N, T, D)`; `(M, 1, D)` of
            M positions that count.
        head: None, or from hidden states `(..., T, D)` to logits `(..., T, V)`.
    """

    __slots__ = ("head", "hidden", "vocab")

    def __init__(self, hidden: Tensor, head: Callable[[Tensor], Tensor] | None = None, vocab: int = 0) -> None:
        self.hidden, self.head, self.vocab = hidden, head, vocab

    def logits(self) -> Tensor:
        """All logits at once."""
        return self.hidden if self.head is None else self.head(self.hidden)

    def detach(self) -> Output:
        """The same answer as a teacher gives it: nothing that is learned from it reaches its weights."""
        return Output(self.hidden.detach(), self.head, self.vocab)

    def mean_loss(self, loss: Callable[..., Tensor], *beside: Tensor | Output) -> Tensor:
        """The mean over examples, or over tokens, of `loss(logits, *beside)`.

        Args:
            loss: gives the mean over the examples or tokens of its arguments.
            beside: targets, or answers of teachers, of the same examples.
        """
        rows = self._rows()
        if rows is None:
            return loss(self.logits(), *(_plain(other) for other in beside))
        parts = []
        for start in range(0, len(self.hidden), rows):
            part = slice(start, start + rows)
            others = [other._hidden_of(part) if isinstance(other, Output) else other[part] for other in beside]

            def of_part(hidden: Tensor, *others: Tensor) -> Tensor:
                assert self.head is not None
                given = []
                for other, value in zip(beside, others, strict=True):
                    if isinstance(other, Output) and other.head is not None:
                        with torch.no_grad():
                            value = other.head(value)
                    given.append(value)
                return loss(self.head(hidden), *given)

            share = min(rows, len(self.hidden) - start) / len(self.hidden)
            value: Tensor = checkpoint(of_part, self.hidden[part], *others, use_reentrant=False)
            parts.append(share * value)
        return torch.stack(parts).sum()

    def _rows(self) -> int | None:
        """Examples whose logits are computed together; None: all of them."""
        if self.head is None or self.hidden.shape[1] * self.vocab * len(self.hidden) <= LOGITS_AT_ONCE:
            return None
        return max(1, LOGITS_AT_ONCE // (self.hidden.shape[1] * self.vocab))

    def _hidden_of(self, part: slice) -> Tensor:
        return self.hidden[part]


def _plain(other: Tensor | Output) -> Tensor:
    if isinstance(other, Tensor):
        return other
    with torch.no_grad():
        return other.logits()


class Passes:
    """Runs sub-networks of one supernet for a training method.

    Attributes:
        step: number of steps done before this one.
        num_steps: steps of the whole training.
        weight: share of the step's batch that the current batch is; losses are scaled by it, so that the
            gradients of all micro-batches and processes add up to those of the whole batch.

    Args:
        precision: `float32`, or `bfloat16` (autocast; weights and losses stay in float32).
        activation_checkpointing: recompute the inside of every block in the backward pass.
    """

    def __init__(self, supernet: Supernet, precision: str = "float32", activation_checkpointing: bool = False) -> None:
        self.supernet = supernet
        self.step, self.num_steps, self.weight = 0, 1, 1.0
        self._bfloat16, self._checkpointing = precision == "bfloat16", activation_checkpointing

    @property
    def space(self) -> SearchSpace:
        """The supernet's space."""
        return self.supernet.space

    def compile_ends(self) -> None:
        """Let torch compile the blocks of the largest and the smallest network, which run in many steps.

        The first steps then take minutes: of the digits space 210 s on one busy core (docs/log.md).
        """
        both = (self.space.largest(), self.space.smallest())
        ends = [self.supernet.layers(end, dropout=dropout) for end in both for dropout in (True, False)]
        # Blocks of one kind share their code, and each size counts as a recompilation of it.
        sizes = sum(len(layers) for layers in ends)
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 2 * sizes)
        for layers in ends:
            for name, spec in layers.items():
                self.supernet.slot(name).sub_block(spec).compile()

    def run(self, batch: Batch, architecture: Architecture, regularisation: Regularisation = PLAIN) -> Output:
        """What a sub-network answers to a batch.

        Raises:
            ValueError: dropout before the classifier of a language model, which has none.
        """
        layers = list(self.supernet.layers(architecture, dropout=regularisation.own_dropout).items())
        language = batch.is_language
        if language and regularisation.dropout:
            raise ValueError("Dropout before the classifier is for networks with classes; set it to 0.")
        with self._autocast(batch.device):
            flow = self._blocks(Flow(batch.inputs), layers[:-1], regularisation.drop_connect)
            if not language:
                with dropped_inputs(self.supernet, layers[-1], regularisation.dropout):
                    output = self._output(flow, layers[-1])
        if language:
            return self._language_output(_made(flow), layers[-1], batch)
        return Output(similarities(output.hidden, batch.targets)) if batch.is_pairs else output

    def run_tapped(self, batch: Batch, architecture: Architecture) -> tuple[Output, Tensor]:
        """What a sub-network answers with its own dropouts off, and what enters the last block before its head.

        Returns:
            The answer, and hidden states with channels last, `(N, T, D)` or `(N, H, W, C)`.
        """
        *body, head = list(self.supernet.layers(architecture, dropout=False).items())
        with self._autocast(batch.device):
            before = self._blocks(Flow(batch.inputs), body[:-1], 0.0)
            flow = self._blocks(before, body[-1:], 0.0)
            tapped = _made(before)
            states = tapped.movedim(1, -1) if tapped.dim() == 4 else tapped
            if not batch.is_language:
                output = self._output(flow, head)
        if batch.is_language:
            return self._language_output(_made(flow), head, batch), states
        return Output(similarities(output.hidden, batch.targets)) if batch.is_pairs else output, states

    def run_exits(self, batch: Batch, architectures: Sequence[Architecture]) -> list[Output]:
        """What sub-networks answer that are one another's beginnings, from one pass of the deepest.

        Args:
            architectures: each one's layers before its head are the first layers of the last one's.

        Raises:
            ValueError: they are not.
        """
        *body, _ = list(self.supernet.layers(architectures[-1]).items())
        exits: list[tuple[int, tuple[str, LayerSpec]]] = []
        for architecture in architectures:
            *before, head = list(self.supernet.layers(architecture).items())
            if body[: len(before)] != before:
                raise ValueError(f"{architecture!r} is not a beginning of {architectures[-1]!r}, so it has no exit.")
            exits.append((len(before), head))
        if exits != sorted(exits, key=lambda each: each[0]):
            raise ValueError("Exits must be given from the shallowest to the deepest.")
        outputs, flow, done = [], Flow(batch.inputs), 0
        for depth, head in exits:
            with self._autocast(batch.device):
                flow = self._blocks(flow, body[done:depth], 0.0)
                done = depth
                if not batch.is_language:
                    outputs.append(self._output(flow, head))
                    continue
            outputs.append(self._language_output(_made(flow), head, batch))
        return outputs

    def task_loss(self, output: Output, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy with the batch's targets that count, mixed as its images are; of pairs the loss that their
        networks are trained by, over all pairs of the batch."""
        if batch.is_pairs:
            return self._pair_loss(output.logits(), label_smoothing)
        if batch.mixed is not None:
            second, share = batch.mixed.targets, batch.mixed.share
            return losses.mixed_loss(output.logits(), batch.targets, second, share, label_smoothing)
        counted = batch.counted
        targets = batch.targets if counted is None else batch.targets[counted][:, None]
        return output.mean_loss(lambda logits, y: losses.task_loss(logits, y, label_smoothing), targets)

    def _pair_loss(self, logits_MN: Tensor, label_smoothing: float) -> Tensor:
        if getattr(self.space.takes, "loss", "") != "sigmoid":
            return contrastive_loss(logits_MN, label_smoothing)
        if label_smoothing:
            raise ValueError(f"Got label_smoothing {label_smoothing:g}, but {SMOOTHED}.")
        return sigmoid_loss(logits_MN)

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients to `.grad`."""
        (self.weight * loss if self.weight != 1 else loss).backward()

    # --- blocks ---------------------------------------------------------------------------------

    def _blocks(self, flow: Flow, layers: Sequence[tuple[str, LayerSpec]], drop_connect: float) -> Flow:
        for place, (name, spec) in enumerate(layers, 1):
            flow = flow.into(self.supernet.slot(name).block)
            dropped = drop_connect * place / len(layers)
            x = self._block(_made(flow), name, spec, flow.mask, dropped, recompute=self._checkpointing)
            flow = flow.gave(x)
        return flow

    def _output(self, flow: Flow, head: tuple[str, LayerSpec]) -> Output:
        """The logits of a network with classes."""
        name, spec = head
        flow = flow.into(self.supernet.slot(name).block)
        return Output(self._block(_made(flow), name, spec, flow.mask))

    def _block(
        self,
        x: Tensor,
        name: str,
        spec: LayerSpec,
        mask: Tensor | None,
        drop_connect: float = 0.0,
        *,
        recompute: bool = False,
    ) -> Tensor:
        slot = self.supernet.slot(name)
        if not drop_connect and not recompute:
            plain: Tensor = slot(x, spec, mask)
            return plain

        def run(x: Tensor) -> Tensor:
            # In here, because a pass that recomputes the block must leave out the same branches.
            with dropped_branches(slot.sub_block(spec), spec.branches(), drop_connect):
                out: Tensor = slot(x, spec, mask)
                return out

        if recompute and torch.is_grad_enabled():
            again: Tensor = checkpoint(run, x, use_reentrant=False)
            return again
        return run(x)

    def _language_output(self, x: Tensor, head: tuple[str, LayerSpec], batch: Batch) -> Output:
        """Output at the positions whose targets count, each as an example of one token where some do not."""
        if (counted := batch.counted) is not None:
            x = x[counted][:, None]
        return self._answer(x, head)

    def answer_of(self, hidden: Tensor, batch: Batch, architecture: Architecture) -> Output:
        """An answer that a sub-network gave before (see `Output.hidden`); a head without dropouts runs where needed."""
        if not batch.is_language:
            return Output(hidden)
        *_, head = self.supernet.layers(architecture, dropout=False).items()
        return self._answer(hidden, head)

    def _answer(self, x: Tensor, head: tuple[str, LayerSpec]) -> Output:
        """The answer of a language model, from what enters its head."""

        def logits(hidden: Tensor) -> Tensor:
            with self._autocast(hidden.device):
                return self._block(hidden, *head, None)

        takes = self.space.takes
        return Output(x, logits, getattr(takes, "vocab", 0))

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        return torch.autocast(device.type, torch.bfloat16) if self._bfloat16 else nullcontext()


def _made(flow: Flow) -> Tensor:
    """What is on its way: something was read before."""
    assert flow.x is not None
    return flow.x


@contextmanager
def dropped_branches(block: nn.Module, branches: Sequence[str], probability: float) -> Iterator[None]:
    """Inside, the branches of a block are left out for some examples, and scaled up for the others.

    Args:
        branches: names of modules of the block (see `LayerSpec.branches`); each has draws of its own.
    """
    if not probability or not branches:
        yield
        return
    hooks = [
        block.get_submodule(name).register_forward_hook(lambda _, _inputs, out: dropped_examples(out, probability))
        for name in branches
    ]
    with _eager(block):
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def dropped_examples(out: Tensor, probability: float) -> Tensor:
    """Zeros for some examples of a batch, and for the others as much more as keeps the mean."""
    keep = torch.rand(len(out), device=out.device) >= probability
    return out * keep.to(out.dtype).div(1 - probability).view(-1, *[1] * (out.dim() - 1))


def _eager(block: nn.Module) -> AbstractContextManager[Any]:
    """Inside, a block that was compiled runs as it is written: compiled code knows nothing of hooks that come later."""
    return torch.compiler.set_stance("force_eager") if block._compiled_call_impl is not None else nullcontext()


@contextmanager
def dropped_inputs(supernet: Supernet, head: tuple[str, LayerSpec], probability: float) -> Iterator[None]:
    """Inside, inputs of the classifier of a head are dropped out: those of its last linear layer."""
    name, spec = head
    block = supernet.slot(name).sub_block(spec)
    linears = [m for m in block.modules() if isinstance(m, nn.Linear)]
    if not probability or not linears:
        yield
        return
    hook = linears[-1].register_forward_pre_hook(lambda _, inputs: (F.dropout(inputs[0], probability), *inputs[1:]))
    with _eager(block):
        try:
            yield
        finally:
            hook.remove()
