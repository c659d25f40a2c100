"""What the export format `torch_export` is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from job.formats import Subject

MEANING = "`model.pt2`, a program of `torch.export` with free batch and length, for PyTorch and AOTInductor (C++)."

WHEN_ASKED = True

LOADS = """
import torch
model = torch.export.load("torch_export/model.pt2").module()
"""


def refusal(subject: Subject) -> str | None:
    """Why a network cannot have it; None: it can."""
    return "its weights are integers of a policy; take onnx or winnow" if subject.quantized else None
