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
from search_space.inputs import INPUT
from supernet.inputs import Inputs, count, num_bytes, part
from supernet.network import arguments, complete

FILE = "samples.safetensors"
# As many as a small file holds: they tell a damaged or exchanged network, not its accuracy.
MOST, MOST_BYTES = 16, 2**22


def keep_samples(
    folder: Path,
    network: nn.Module,
    inputs: Inputs,
    labels: Tensor,
    formats: Sequence[str] = (),
) -> None:
    """Write a few samples: what the network takes, `labels`, and `logits` of the network.

    Inputs have their names; the only one of a network is called `inputs` here.

    Formats that hold the network's numbers in another type add `logits.NAME`, what the network gives in that type.
    Texts of a language model are cut where their logits would fill the file.
    """
    inputs, labels = part(inputs, slice(MOST)), labels[:MOST]
    with torch.no_grad():
        one = network(*arguments(network, part(inputs, slice(1))))
    if one.dim() == 3 and INPUT in inputs:
        length = max(1, min(labels.shape[1], MOST_BYTES // (4 * one.shape[2])))
        inputs = {name: x[:, :length] for name, x in inputs.items()}
        labels, one = labels[:, :length], one[:, :length]
    per_sample = num_bytes(part(inputs, slice(1))) + 4 * one.numel()
    inputs = part(inputs, slice(max(1, min(len(labels), MOST_BYTES // per_sample))))
    given = complete(network, inputs)
    tensors = {called(name): x.float() if x.is_floating_point() else x for name, x in inputs.items()}
    tensors |= {called(name): x for name, x in given.items() if name not in inputs}
    tensors |= {"labels": labels[: count(inputs)], "logits": _answers(network, tuple(given.values()))}
    for name in formats:
        reference = getattr(FORMATS.load(name), "REFERENCE", lambda same: same)(network)
        if reference is not network:
            tensors[f"logits.{name}"] = _answers(reference, arguments(reference, inputs))
    save_file({name: tensor.detach().clone().contiguous().cpu() for name, tensor in tensors.items()}, folder / FILE)


def called(name: str) -> str:
    """What an input is called in the file."""
    return "inputs" if name == INPUT else name


def inputs_of(samples: Mapping[str, np.ndarray[Any, Any]], names: Sequence[str]) -> list[np.ndarray[Any, Any]]:
    """What a network is given, in the order of its inputs' names."""
    return [samples[called(name)] for name in names if called(name) in samples]


def logits_of(samples: Mapping[str, np.ndarray[Any, Any]], name: str) -> np.ndarray[Any, Any]:
    """What a format has to answer to the samples of an export."""
    return samples.get(f"logits.{name}", samples["logits"])


def _answers(network: nn.Module, given: Sequence[Tensor]) -> Tensor:
    """One by one: a dynamically quantized network answers differently in company."""
    with torch.no_grad():
        return torch.cat([network(*(each[n : n + 1].clone() for each in given)).float() for n in range(len(given[0]))])
