"""What the export format `executorch` is, and which networks can have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search_space.layers import DecoderLayerSpec, PairHeadSpec, TransformerLayerSpec, VocabularyHeadSpec

if TYPE_CHECKING:
    from job.formats import Subject

MEANING = "`model.pte` for phones, with XNNPACK's kernels; one input at a time."

WHEN_ASKED = True

LOADS = """
from executorch.runtime import Runtime
method = Runtime.get().load_program("executorch/model.pte").load_method("forward")
"""


def refusal(subject: Subject) -> str | None:
    """Why a network cannot have it; None: it can."""
    if subject.quantized:
        return "its weights are integers of a policy; take onnx or openvino"
    if any(isinstance(layer, DecoderLayerSpec | VocabularyHeadSpec) for layer in subject.layers.values()):
        return "language models with a cache are not lowered; take gguf or onnx"
    if any(isinstance(layer, TransformerLayerSpec) and layer.facts.rotary for layer in subject.layers.values()):
        return "executorch 1.5 does not lower the constants of rotary positions; take onnx"
    if any(isinstance(layer, PairHeadSpec) for layer in subject.layers.values()):
        return "networks of two towers are not lowered; take onnx, which has a file of each tower"
    return None
