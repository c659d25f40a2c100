"""Samples that travel with an export, with the network's own answers: what `winnow verify` asks its files again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from plugins.kinds import FORMATS
from supernet.network import arguments

FILE = "samples.safetensors"
# As many as a small file holds: they tell a damaged or exchanged network, not its accuracy.
MOST, MOST_BYTES = 16, 2**22


def keep_samples(
    folder: Path,
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    mask_NT: Tensor | None,
    formats: Sequence[str] = (),
) -> None:
    """Write a few samples: `inputs`, perhaps `mask`, `labels`, and `logits` of the network.

    Of formats that hold the network's numbers in another type also `logits.NAME`, what the network gives in that type.
    Texts of a language model are cut where their logits would fill the file.
    """
    inputs, labels = inputs[:MOST], labels[:MOST]
    mask_NT = None if mask_NT is None else mask_NT[:MOST]
    with torch.no_grad():
        one = network(*arguments(network, inputs[:1], None if mask_NT is None else mask_NT[:1]))
    if one.dim() == 3:
        length = max(1, min(inputs.shape[1], MOST_BYTES // (4 * one.shape[2])))
        inputs, labels, one = inputs[:, :length], labels[:, :length], one[:, :length]
    per_sample = inputs[0].numel() * inputs.element_size() + 4 * one.numel()
    count = max(1, min(len(inputs), MOST_BYTES // per_sample))
    given = arguments(network, inputs[:count], None if mask_NT is None else mask_NT[:count])
    tensors = {
        "inputs": inputs[:count].float() if inputs.is_floating_point() else inputs[:count],
        "labels": labels[:count],
        "logits": _answers(network, given),
    }
    mask = None if mask_NT is None else mask_NT[:count]
    for name in formats:
        reference = getattr(FORMATS.load(name), "REFERENCE", lambda same: same)(network)
        if reference is not network:
            tensors[f"logits.{name}"] = _answers(reference, arguments(reference, inputs[:count], mask))
    if len(given) > 1:
        tensors["mask"] = given[1]
    save_file({name: tensor.detach().clone().contiguous().cpu() for name, tensor in tensors.items()}, folder / FILE)


def logits_of(samples: Mapping[str, np.ndarray[Any, Any]], name: str) -> np.ndarray[Any, Any]:
    """What a format has to answer to the samples of an export."""
    return samples.get(f"logits.{name}", samples["logits"])


def _answers(network: nn.Module, given: Sequence[Tensor]) -> Tensor:
    """One by one: a dynamically quantized network answers differently in company."""
    with torch.no_grad():
        return torch.cat([network(*(each[n : n + 1].clone() for each in given)).float() for n in range(len(given[0]))])
