"""The towers of a network that compares images and texts, each as a network of its own that gives unit vectors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from export.programs import Signature, signature
from export.streamed import Made
from search_space.inputs import IMAGES, TEXTS
from supernet.inputs import Inputs, compares, named
from supernet.network import Network

# Input of a tower -> its file as optimum and transformers.js call it, its answer, and what its slots begin with.
TOWERS = {
    IMAGES: ("vision_model.onnx", "image_embeds", "image_"),
    TEXTS: ("text_model.onnx", "text_embeds", "text_"),
}


class UnitTower(Network):
    """A tower whose vectors are as long as 1."""

    def forward(self, *given: Tensor) -> Tensor:
        """Unit vectors (N, W) of a batch."""
        return F.normalize(super().forward(*given), dim=-1)


@dataclass(frozen=True, slots=True)
class Tower:
    """One tower to write.

    Attributes:
        slots: slots of its blocks.
        facts: how its vectors become logits: `logit_scale`, which the cosine is multiplied by, and `logit_bias`.
    """

    file: str
    slots: frozenset[str]
    signature: Signature
    facts: dict[str, Any]


def towers_of(network: nn.Module, example: Tensor | Inputs) -> Iterator[Tower]:
    """The towers of a network; none of a network that has none."""
    inputs = named(example)
    if not compares(network):
        return
    pair: Any = network.get_submodule("pair")
    bias = 0.0 if pair.bias is None else float(pair.bias.detach())
    facts = {"logit_scale": float(pair.scale.detach().exp()), "logit_bias": bias}
    for name, (file, answer, prefix) in TOWERS.items():
        blocks = OrderedDict((slot, block) for slot, block in network.named_children() if slot.startswith(prefix))
        called = signature(UnitTower(blocks), {name: inputs[name]})
        called = Signature(called.module, called.example, called.inputs, (answer,), called.dynamic)
        yield Tower(file, frozenset(blocks), called, facts)


# --- as transformers stores them ------------------------------------------------------------------------

# Model type -> for each tower the folder, whose name is the prefix of its tensors, its part of config.json, the class
# of transformers, and the module that stands beside the prefix; SigLIP's classes leave the prefix out.
FOLDERS = {
    "clip": (
        ("vision_model", "vision_config", "CLIPVisionModelWithProjection", "visual_projection."),
        ("text_model", "text_config", "CLIPTextModelWithProjection", "text_projection."),
    ),
    "siglip": (
        ("vision_model", "vision_config", "SiglipVisionModel", None),
        ("text_model", "text_config", "SiglipTextModel", None),
    ),
}


def folders_of(
    config: Mapping[str, Any], tensors: Mapping[str, Made]
) -> Iterator[tuple[str, dict[str, Any], dict[str, Made]]]:
    """Folder, config.json and tensors of each tower; nothing of a network that has none."""
    for folder, part, kind, beside in FOLDERS.get(str(config["model_type"]), ()):
        prefix = f"{folder}."
        own = {name: tensor for name, tensor in tensors.items() if name.startswith((prefix, beside or prefix))}
        if beside is None:
            own = {name.removeprefix(prefix): tensor for name, tensor in own.items()}
        yield folder, {**config[part], "architectures": [kind], "dtype": config["dtype"]}, own
