"""Options of the training method `single`."""

from __future__ import annotations

from pydantic import Field

from supernet.options import DropConnect, Dropout, LabelSmoothing, MethodOptions


class SingleOptions(MethodOptions):
    """Options of the training method `single`."""

    architecture: str = Field(
        default="largest", description="`largest`, `smallest`, or genes such as `0,2,1`, one per choice."
    )
    label_smoothing: LabelSmoothing = 0.0
    dropout: Dropout = 0.0
    drop_connect: DropConnect = 0.0

    @property
    def trains_largest(self) -> bool:
        """See `MethodOptions`: only if it is the one."""
        return self.architecture == "largest"


OPTIONS = SingleOptions
