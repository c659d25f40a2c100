"""Options of the training method `progressive`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from supernet.options import LabelSmoothing, MethodOptions

if TYPE_CHECKING:
    from search_space.space import SearchSpace

# Of the passes of a trained network, forward and backward, what the teacher's forward pass costs.
TEACHER = 1 / 3

Networks = Annotated[int, Field(ge=1, le=16, description="Networks that a step of this phase trains.")]


class ProgressiveOptions(MethodOptions):
    """Options of the training method `progressive`."""

    full_part: Annotated[
        float,
        Field(
            ge=0,
            description="Length of the phase that trains the full network alone. A training is divided among the "
            "phases in proportion to such numbers; it has only phases in which something becomes elastic.",
        ),
    ] = 180.0
    kernel_part: Annotated[float, Field(gt=0, description="Length of the phase with elastic kernels.")] = 120.0
    depth_middle_part: Annotated[
        float, Field(ge=0, description="Length of the phase with elastic kernels and the larger half of the depths.")
    ] = 25.0
    depth_part: Annotated[float, Field(gt=0, description="Length of the phase with all kernels and depths.")] = 120.0
    width_middle_part: Annotated[
        float, Field(ge=0, description="Length of the phase with all kernels and depths and the larger half of widths.")
    ] = 25.0
    width_part: Annotated[float, Field(gt=0, description="Length of the phase with all networks.")] = 120.0
    kernel_networks: Networks = 1
    depth_networks: Networks = 2
    width_networks: Networks = 4
    distillation: Annotated[
        float,
        Field(ge=0, le=100, description="Weight of the divergence from the full network's answers, beside the labels."),
    ] = 1.0
    transforms: bool = Field(
        default=True,
        description="Make a smaller kernel of the next larger one's centre by a learned matrix, one for each layer and "
        "size; false: it is the centre.",
    )
    sort: bool = Field(
        default=True,
        description="Put important channels, heads and neurons first, by their weights, before widths become elastic.",
    )
    label_smoothing: LabelSmoothing = 0.1

    @property
    def asks_of_the_space(self) -> bool:
        """See `MethodOptions.asks_of_the_space`: the largest network must hold the others."""
        return True

    def misfit(self, space: SearchSpace) -> str | None:
        """See `MethodOptions.misfit`: the full network must have every layer, and something to make smaller."""
        if lacking := sorted(set(space.capacity()) - set(space.layers(space.largest()))):
            return (
                f"progressive shrinks the largest network, but that of {space.name} lacks {len(lacking)} layers that "
                f"others have, such as {lacking[0]}; choose another training.method."
            )
        if all(len(choice.options) == 1 for choice in space.choices):
            return f"{space.name} has one network, so nothing shrinks; set training.method to single."
        return super().misfit(space)

    @property
    def networks_of_a_step(self) -> int:
        """See `MethodOptions.networks_of_a_step`: the mean over all phases, with the teacher's share."""
        parts = (
            (self.full_part, 1.0),
            (self.kernel_part, self.kernel_networks + TEACHER),
            (self.depth_middle_part + self.depth_part, self.depth_networks + TEACHER),
            (self.width_middle_part + self.width_part, self.width_networks + TEACHER),
        )
        return round(sum(part * networks for part, networks in parts) / sum(part for part, _ in parts))


OPTIONS = ProgressiveOptions
