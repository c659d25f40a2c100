"""Options of the training method `sortednet`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from supernet.options import LabelSmoothing, MethodOptions

if TYPE_CHECKING:
    from search_space.architecture import Architecture
    from search_space.space import SearchSpace


class SortedNetOptions(MethodOptions):
    """Options of the training method `sortednet`."""

    draws: Annotated[int, Field(ge=1, le=64, description="Sub-models whose gradients are summed in a step.")] = 4
    batches: Literal["fresh", "same"] = Field(
        default="fresh", description="Whether every draw of a step has examples of its own."
    )
    dimensions: Literal["width_depth", "width", "depth", "free"] = Field(
        default="width_depth",
        description="What is truncated together; `free` draws every choice of the space by itself.",
    )
    distribution: Literal["uniform", "sandwich"] = Field(
        default="uniform", description="`sandwich`: the first draws of a step are the full and the smallest model."
    )
    label_smoothing: LabelSmoothing = 0.0
    exits: bool = Field(
        default=False,
        description="Sorted fine-tuning: each step trains every depth of the full width, in one forward pass.",
    )

    def misfit(self, space: SearchSpace) -> str | None:
        """See `MethodOptions.misfit`: exits need networks of which each is the beginning of the next deeper one."""
        if not self.exits:
            return super().misfit(space)
        *depths, full = depths_of(space)
        body = list(space.layers(full).items())[:-1]
        for architecture in depths:
            before = list(space.layers(architecture).items())[:-1]
            if body[: len(before)] != before:
                return (
                    f"training.options.exits needs a space whose shallower networks are the first layers of the "
                    f"deepest; in {space.name} they are not. Let the last layers be left out, or set exits to false."
                )
        return super().misfit(space)


def depths_of(space: SearchSpace) -> list[Architecture]:
    """Every depth at the full width, the shallowest first."""
    from search_space.nesting import Nesting  # not needed to start the API

    nesting = Nesting(space, "depth")
    return [nesting.architecture(level) for level in range(nesting.shape[0])]


OPTIONS = SortedNetOptions
