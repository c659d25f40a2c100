"""Options of the training method `proxylessnas`."""

from __future__ import annotations

from supernet.options import LabelSmoothing, MethodOptions


class ProxylessNASOptions(MethodOptions):
    """Options of the training method `proxylessnas`."""

    label_smoothing: LabelSmoothing = 0.1


OPTIONS = ProxylessNASOptions
