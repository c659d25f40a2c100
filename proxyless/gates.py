"""Gradients of binary gates: what each candidate of a block would have changed, with one path in memory.

A block's output is sum_k g_k o_k(x) with one gate open (1812.00332, equation 4). So dL/dg_k is the inner product of
o_k(x) with the gradient at the block's output. It needs o_k(x) for a moment only: it is computed when backward
arrives there, without a graph, one candidate at a time. The paper's full and two-path modes differ in which
candidates are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_space.layers import LayerSpec
from search_space.operations import Blocks, SearchedBlock
from supernet.data.dataset import Batch
from supernet.network import Supernet
from supernet.passes import Output, Passes


@dataclass(frozen=True, slots=True)
class Asked:
    """What one block is asked in one step.

    Attributes:
        active: the option whose gate is open.
        wanted: the options whose gradients are wanted; `active` is among them.
    """

    active: int
    wanted: tuple[int, ...]


class GatedPasses(Passes):
    """Passes through one path of an over-parameterised network that also say how the loss depends on every gate.

    Args:
        supernet: supernet of a space that `separated` made.
        blocks: blocks of the space that it was made from.
    """

    def __init__(
        self, supernet: Supernet, blocks: Blocks, precision: str = "float32", activation_checkpointing: bool = False
    ) -> None:
        super().__init__(supernet, precision, activation_checkpointing)
        self._blocks_by_slot = {block.slot: (i, block) for i, block in enumerate(blocks.searched)}
        self._order, self._fixed = blocks.order, blocks.fixed
        if blocks.order[-1] in self._blocks_by_slot and hasattr(supernet.space.takes, "vocab"):
            raise ValueError(f"The last layer of {supernet.space.name!r} has a choice; a head must be fixed.")

    def gate_gradients(
        self, batch: Batch, asked: Sequence[Asked], loss_of: Callable[[Tensor], Tensor]
    ) -> tuple[float, list[Tensor]]:
        """The batch's cross-entropy, and dL/dg of every block's wanted options, NaN for options not wanted.

        The weights are left without gradients. Normalisation uses the batch's statistics and keeps none, so nothing
        of a held-out batch stays in the network.

        Args:
            loss_of: from the cross-entropy, a scalar on the device, to the loss L.

        Returns:
            The cross-entropy without label smoothing, and per block a float64 tensor on the CPU, shape (options,).
        """
        found: list[dict[int, Tensor]] = [{} for _ in asked]
        self.supernet.train()
        with frozen(self.supernet):
            output = self._run_gated(batch, asked, found)
            cross_entropy = self.task_loss(output, batch)
            loss_of(cross_entropy).backward()
        # One transfer for all gates: from a GPU each would wait for the device by itself.
        values = iter(torch.stack([g for of_block in found for g in of_block.values()]).double().cpu())
        gradients = []
        for (_, block), of_block in zip(self._blocks_by_slot.values(), found, strict=True):
            row = torch.full((len(block.options),), torch.nan, dtype=torch.float64)
            for option in of_block:
                row[option] = next(values)
            gradients.append(row)
        return float(cross_entropy.detach()), gradients

    def _run_gated(self, batch: Batch, asked: Sequence[Asked], found: list[dict[int, Tensor]]) -> Output:
        language = batch.targets.dim() == 2
        *body, head = self._order
        x = batch.x
        with self._autocast(batch.device):
            for slot in body if language else self._order:
                x = self._gated(x, slot, batch.mask, asked, found)
        return self._language_output(x, (head, self._fixed[head]), batch) if language else Output(x)

    def _gated(
        self, x: Tensor, slot: str, mask: Tensor | None, asked: Sequence[Asked], found: list[dict[int, Tensor]]
    ) -> Tensor:
        if slot not in self._blocks_by_slot:
            return self._block(x, slot, self._fixed[slot], mask)
        position, block = self._blocks_by_slot[slot]
        out = self._candidate(x, block, asked[position].active, mask)
        # Nothing before the first block has a gate, so the graph begins behind it; a block that is left out
        # answers with its input, which needs a tensor of its own to hang the question on.
        out = out.view_as(out) if out.requires_grad else out.detach().requires_grad_()
        x_kept, out_kept, wanted = x.detach(), out.detach(), asked[position]

        def ask(gradient: Tensor) -> None:
            for option in wanted.wanted:
                found[position][option] = self._sensitivity(x_kept, out_kept, gradient, block, option, wanted, mask)

        out.register_hook(ask)
        return out

    def _sensitivity(
        self,
        x: Tensor,
        out: Tensor,
        gradient: Tensor,
        block: SearchedBlock,
        option: int,
        asked: Asked,
        mask: Tensor | None,
    ) -> Tensor:
        """<o_k(x), dL/d(output)>."""
        with torch.no_grad(), self._autocast(x.device):
            answer = out if option == asked.active else self._candidate(x, block, option, mask)
            return (answer.float() * gradient.float()).sum()

    def _candidate(self, x: Tensor, block: SearchedBlock, option: int, mask: Tensor | None) -> Tensor:
        spec: LayerSpec | None = block.specs[option]
        if spec is None:
            return x
        return self._block(x, f"{block.slot}/{option}", spec, mask, recompute=self._checkpointing)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, no parameter needs a gradient."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def logit_gradient(alpha: Tensor, gate_gradient: Tensor, wanted: Sequence[int]) -> Tensor:
    """dL/dalpha_i = sum_j dL/dg_j p_j (delta_ij - p_i), with p normalised over the wanted options (equation 5).

    Args:
        alpha: logits of a block, shape (options,).
        gate_gradient: dL/dg, shape (options,); only the wanted ones are read.

    Returns:
        Shape (options,), 0 for options that were not wanted. Its sum is 0.
    """
    index = torch.tensor(list(wanted))
    p, gates = alpha.detach()[index].softmax(0), gate_gradient[index]
    gradient = torch.zeros_like(alpha)
    gradient[index] = p * (gates - (p * gates).sum())
    return gradient
