"""What the export format `torchao` is, and which networks can have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from job.formats import Subject

MEANING = (
    "Float weights, and a recipe that torchao applies when they are loaded: linear layers in INT8 or INT4, tables of "
    "words in INT8."
)

WHEN_ASKED = True

LOADS = "python torchao/load_int8.py"

# Kinds of layers whose linear parts are rounded.
KINDS = ("decoder_layer", "encoder_layer", "transformer_layer", "multiway_layer")


def refusal(subject: Subject) -> str | None:
    """Why a network cannot have it; None: it can."""
    if subject.quantized:
        return "its policy is stored by onnx and winnow; torchao rounds the linear layers of a float network"
    if not any(layer.kind in KINDS for layer in subject.layers.values()):
        return "torchao rounds linear layers, and this network is made of convolutions"
    return None
