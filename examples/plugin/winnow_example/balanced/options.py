"""Options of the training method `balanced`: read by the API, so nothing heavy is imported here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from winnow.plugins import MethodOptions


class BalancedOptions(MethodOptions):
    """Options of the training method `balanced`."""

    weight: Annotated[float, Field(gt=0, lt=1, description="Of the full network's loss; others share the rest.")] = 0.5
    num_random: Annotated[int, Field(ge=1, le=8, description="Random sub-networks a step.")] = 1
    label_smoothing: Annotated[float, Field(ge=0, lt=1, description="Of every loss.")] = 0.0


OPTIONS = BalancedOptions
