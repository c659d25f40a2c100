"""Options of the training method `sortednet`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from supernet.options import LabelSmoothing, MethodOptions


class SortedNetOptions(MethodOptions):
    """Options of the training method `sortednet`."""

    draws: Annotated[int, Field(ge=1, le=64, description="Sub-models whose gradients are summed in a step.")] = 4
    batches: Literal["fresh", "same"] = Field(
        default="fresh", description="Whether every draw of a step has examples of its own."
    )
    dimensions: Literal["width_depth", "width", "depth", "free"] = Field(
        default="width_depth",
        description="What is truncated together; `free`: every choice of the space is drawn by itself.",
    )
    distribution: Literal["uniform", "sandwich"] = Field(
        default="uniform", description="`sandwich`: the first draws of a step are the full and the smallest model."
    )
    label_smoothing: LabelSmoothing = 0.0
    exits: bool = Field(
        default=False, description="Sorted fine-tuning: every depth of the full width in every step, one forward pass."
    )


OPTIONS = SortedNetOptions
