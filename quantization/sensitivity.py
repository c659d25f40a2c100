"""Sensitivity: what quantizing one layer alone does to a network's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quantization.quantizable import QuantizableNetwork
from search_space.inputs import TEXTS
from search_space.layers import Precision
from supernet.inputs import Inputs
from supernet.pairs import similarities


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """One layer at one precision, everything else in full precision.

    Attributes:
        divergence: Kullback-Leibler divergence of the answers from the full network's, mean over examples (or
            tokens), in nats.
        agreement: share of examples (or tokens) with the same first answer.
    """

    layer: str
    precision: Precision
    divergence: float
    agreement: float

    @property
    def bits(self) -> int:
        """The layer's width."""
        return self.precision.bits


def sensitivities(
    network: QuantizableNetwork,
    candidates: Mapping[str, Iterable[Precision]],
    batches: Callable[[], Iterable[Inputs]],
) -> Iterator[Sensitivity]:
    """Every layer at every precision that it may have, one after the other.

    Args:
        candidates: layer name -> its precisions; full precision changes nothing and is left out.
        batches: gives the same examples each time.
    """
    with torch.no_grad():
        full = [_answers(network.folded, batch) for batch in batches()]
        for name, precisions in candidates.items():
            for precision in precisions:
                if precision.is_full:
                    continue
                changed = network.with_policy({name: precision})
                lost, same, count = 0.0, 0, 0
                for theirs, batch in zip(full, batches(), strict=True):
                    ours = _answers(changed, batch)
                    lost += float(nn.functional.kl_div(ours, theirs, reduction="sum", log_target=True))
                    same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
                    count += len(ours)
                # Rounding may leave the least bit below zero where nothing changes.
                yield Sensitivity(name, precision, 0.0 if lost < 0 else lost / count, same / count)


def _answers(network: nn.Module, batch: Inputs) -> Tensor:
    """Logarithms of probabilities, one row per example or token; of vectors one per image and one per text."""
    logits: Tensor = network(*batch.values())
    if TEXTS in batch and logits.dim() == 3:
        numbers = torch.arange(len(logits), device=logits.device)[:, None].expand(-1, 2)
        logits = similarities(logits, numbers)
    return logits.flatten(0, -2).log_softmax(-1)
