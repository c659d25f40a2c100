"""What an export is made from: a network, what its card says, and the files that go along."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from search_space.inputs import INPUT, MASK
from search_space.layers import LayerSpec
from supernet.inputs import Inputs, named


@dataclass(frozen=True, slots=True)
class Member:
    """A network of a supernet's front.

    Attributes:
        layers: its specs by slot, in forward order.
        metrics: its numbers, as the front has them.
        values: values of its choices.
        network: gives it, extracted and calibrated, in evaluation mode, when it is its turn.
    """

    id: str
    layers: Mapping[str, LayerSpec]
    metrics: Mapping[str, float | None]
    values: Mapping[str, Any]
    network: Callable[[], nn.Module]


@dataclass(frozen=True, slots=True)
class Shared:
    """A supernet, and the networks of its front.

    Attributes:
        tensors: its parameters, by slot and name within the slot's block.
        blocks: blocks of its slots.
        objectives: metric -> `minimize` or `maximize`; the first is the quality.
        exported: id of the network that the export is of, which is a member.
    """

    tensors: Mapping[str, Tensor]
    blocks: Sequence[nn.Module]
    members: tuple[Member, ...]
    objectives: Mapping[str, str]
    exported: str


@dataclass(frozen=True, slots=True)
class BundleContents:
    """The network to export and what its card says.

    Attributes:
        network: extracted and calibrated, in evaluation mode.
        layers: its layer specs by slot, in forward order.
        facts: what `architecture.json` says besides the layers.
        card: the model card without the part about files, as Markdown.
        companions: files that go along as they are, such as those of a tokenizer.
        formats: what to write, each in a folder of its own; empty: what an export has that names no format, in the
            bundle's own folder.
        shared: the supernet that the network is a slice of, where a format wants it.
    """

    network: nn.Module
    layers: dict[str, LayerSpec]
    facts: dict[str, Any]
    card: str
    companions: tuple[Path, ...] = ()
    formats: tuple[str, ...] = ()
    shared: Shared | None = None


def described_layers(layers: Mapping[str, LayerSpec], *, tied: bool = True) -> list[dict[str, Any]]:
    """Layers as `network.py` builds from them."""
    return [
        {"slot": slot, "kind": layer.kind, "fields": layer.fields()}
        | ({"ties": layer.ties()} if tied and layer.ties() else {})
        for slot, layer in layers.items()
    ]


def write_architecture(
    layers: dict[str, LayerSpec],
    inputs: Tensor | Inputs,
    folder: Path,
    facts: dict[str, Any] | None = None,
    *,
    tied: bool = True,
) -> None:
    """Write `architecture.json`: what `network.py` builds from, and what the network eats."""
    eats = {name: _eaten(x, facts or {}) for name, x in named(inputs).items() if name != MASK}
    # A network with one input says it as it always did.
    said = {"input": eats[INPUT]} if INPUT in eats else {"inputs": eats}
    text = json.dumps({**(facts or {}), **said, "layers": described_layers(layers, tied=tied)}, indent=2)
    (folder / "architecture.json").write_text(text)


def _eaten(x: Tensor, facts: dict[str, Any]) -> dict[str, Any]:
    """Shape of one sample, and the type: of images that of the network's numbers."""
    dtype = str(x.dtype).removeprefix("torch.")
    return {"shape": [1, *x.shape[1:]], "dtype": facts.get("dtype", dtype) if x.is_floating_point() else dtype}


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a format that has several.

    Attributes:
        tolerance: largest difference of logits that counts as equal; None: integers, of which the metric is compared.
        optional: left out, and told, where it is not near enough: numbers of 16 bits may be too large or too coarse.
    """

    tolerance: float | None
    optional: bool = False
