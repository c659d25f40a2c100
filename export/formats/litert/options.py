"""What the export format `litert` is, and which networks can have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search_space.layers import (
    DecoderLayerSpec,
    JointSequenceSpec,
    PairHeadSpec,
    TransformerLayerSpec,
    VocabularyHeadSpec,
)

if TYPE_CHECKING:
    from job.formats import Subject

MEANING = "`model.tflite` for LiteRT on Android and microcontrollers; one input at a time."

WHEN_ASKED = True

LOADS = """
from ai_edge_litert.interpreter import Interpreter
call = Interpreter("litert/model.tflite").get_signature_runner()
logits = next(iter(call(args_0=pixels).values()))
"""


def refusal(subject: Subject) -> str | None:
    """Why a network cannot have it; None: it can."""
    if subject.quantized:
        return "its weights are integers of a policy; take onnx or openvino"
    if any(isinstance(layer, DecoderLayerSpec | VocabularyHeadSpec) for layer in subject.layers.values()):
        return "language models with a cache are not converted; take gguf or onnx"
    if any(isinstance(layer, TransformerLayerSpec) and layer.facts.rotary for layer in subject.layers.values()):
        return "rotary positions are not converted; take onnx"
    if any(isinstance(layer, PairHeadSpec) for layer in subject.layers.values()):
        return "networks of two towers are not converted; take onnx, which has a file of each tower"
    if any(isinstance(layer, JointSequenceSpec) for layer in subject.layers.values()):
        return "networks that take an image and a text are not converted; take onnx"
    return None
