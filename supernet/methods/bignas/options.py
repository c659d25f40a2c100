"""Options of the training method `bignas`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from supernet.options import DropConnect, Dropout, LabelSmoothing, MethodOptions


class BigNASOptions(MethodOptions):
    """Options of the training method `bignas`."""

    num_random: Annotated[
        int, Field(ge=0, le=16, description="Random sub-networks in a step, besides the largest and the smallest.")
    ] = 2
    label_smoothing: LabelSmoothing = 0.1
    dropout: Dropout = 0.0
    drop_connect: DropConnect = 0.0
    distillation: Literal["kl", "alpha"] = Field(
        default="kl",
        description="`kl`: divergence from the largest network's prediction; `alpha`: AlphaNet's adaptive divergence.",
    )
    alpha_min: Annotated[float, Field(ge=-10, lt=0, description="Lower alpha of the divergence.")] = -1.0
    alpha_max: Annotated[float, Field(gt=0, le=10, description="Upper alpha of the divergence.")] = 1.0
    alpha_clip: Annotated[float, Field(gt=0, description="Largest importance weight of the divergence.")] = 5.0
    sampling: Literal["uniform", "params", "macs", "best_up", "worst_up"] = Field(
        default="uniform",
        description="How random sub-networks are drawn: over genes; `params`, `macs`: over bins of that cost, so that "
        "small and large ones are both seen; `best_up`, `worst_up`: the best or worst of some candidates.",
    )
    candidates: Annotated[
        int, Field(ge=2, le=64, description="Networks from which `best_up` and `worst_up` choose each random one.")
    ] = 3
    use_power: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="How far the gradients of a step are divided by how many of its networks use a weight: 0 is "
            "the paper's sum, 1 their mean.",
        ),
    ] = 0.0
    own_weights: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="How much each width of a layer learns by itself: its weights are the shared ones plus a "
            "difference that only its own networks train, at so many times the rate. 0: all is shared, as in the "
            "paper. Networks stay as small; the supernet holds a layer once for each width.",
        ),
    ] = 0.0

    @model_validator(mode="after")
    def _one_way_to_share(self) -> BigNASOptions:
        if self.use_power and self.own_weights:
            raise ValueError(
                f"use_power is {self.use_power} and own_weights {self.own_weights}: what the mean over the networks "
                "that use a weight would be is unclear where each width has its own; set one of them to 0."
            )
        return self

    @property
    def networks_of_a_step(self) -> int:
        """See `MethodOptions.networks_of_a_step`: the sandwich."""
        return 2 + self.num_random


OPTIONS = BigNASOptions
