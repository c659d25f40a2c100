"""Options of the training method `stitching`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from supernet.options import LabelSmoothing, MethodOptions

if TYPE_CHECKING:
    from search_space.space import SearchSpace

# Kind of the layers that are trained where anchors are not.
STITCH = "stitch"


class StitchingOptions(MethodOptions):
    """Options of the training method `stitching`."""

    anchors: Literal["tuned", "frozen"] = Field(
        default="tuned",
        description="Whether the networks that are stitched are trained too, or their stitching layers alone.",
    )
    distillation: Annotated[
        float, Field(ge=0, lt=1, description="Share of the loss on the largest network's answers; 0: labels alone.")
    ] = 0.0
    label_smoothing: LabelSmoothing = 0.0

    def misfit(self, space: SearchSpace) -> str | None:
        """See `MethodOptions.misfit`: frozen anchors need stitching layers."""
        if self.anchors == "frozen" and all(spec.kind != STITCH for spec in space.capacity().values()):
            return (
                f"training.options.anchors is 'frozen', but networks of {space.name} have no stitching layers, so "
                "nothing would be trained; set it to 'tuned'."
            )
        return super().misfit(space)


OPTIONS = StitchingOptions
