"""Options of the training method `alternating`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from supernet.options import LabelSmoothing, MethodOptions


class AlternatingOptions(MethodOptions):
    """Options of the training method `alternating`."""

    alpha: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Weight of the labels in the loss; 1: the full and a random network in turn, without a "
            "teacher.",
        ),
    ] = 1.0
    gamma: Annotated[Literal[0, 1], Field(description="1: a frozen copy of the full network teaches (InstaTune).")] = 0
    temperature: Annotated[float, Field(gt=0, le=100, description="Temperature of every divergence.")] = 1.0
    num_random: Annotated[int, Field(ge=1, le=16, description="Random sub-networks a step, where alpha < 1.")] = 1
    label_smoothing: LabelSmoothing = 0.0

    def refusal(self, pretrained: bool) -> str | None:
        """See `MethodOptions.refusal`."""
        if self.gamma == 0 or pretrained:
            return None
        return (
            "training.options.gamma is 1, so a copy of the full network as it is at the start teaches; "
            "without supernet.pretrained it knows nothing. Name a checkpoint, or set gamma to 0."
        )

    @property
    def networks_of_a_step(self) -> int:
        """See `MethodOptions.networks_of_a_step`."""
        return self.num_random if self.alpha < 1 else 1


OPTIONS = AlternatingOptions
