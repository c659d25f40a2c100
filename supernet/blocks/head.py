"""Image classifier: 1x1 convolution, global average pooling, perhaps a mixing layer, linear layer."""

from typing import Any

from torch import Tensor, nn


class HeadBlock(nn.Module):
    """`x_NCHW` to `logits_NK`."""

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        classes: int,
        size: int,
        activation: str,
        mix_channels: int = 0,
        mix_bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, hidden_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(hidden_channels)
        self.activation = getattr(nn, activation)()
        self.has_mix = mix_channels > 0
        if self.has_mix:
            self.mix = nn.Linear(hidden_channels, mix_channels, bias=mix_bias)
        self.classifier = nn.Linear(mix_channels or hidden_channels, classes)
        # Axes that may be permuted without changing what the block computes (`supernet.importance`), and channels that
        # it takes: the field, what reads them, and every tensor that has them.
        reader = "mix" if self.has_mix else "classifier"
        self.axes: list[Any] = [("hidden_channels", reader, (("conv.weight", 0), ("norm", 0), (f"{reader}.weight", 1)))]
        if self.has_mix:
            mixed = (("mix.weight", 0), ("mix.bias", 0), ("classifier.weight", 1))
            self.axes.append(("mix_channels", "classifier", mixed))
        self.takes = ("in_channels", ("conv",), (("conv.weight", 1),))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        pooled_NC = self.activation(self.norm(self.conv(x_NCHW))).mean((2, 3))
        if self.has_mix:
            pooled_NC = self.activation(self.mix(pooled_NC))
        logits_NK: Tensor = self.classifier(pooled_NC)
        return logits_NK


BLOCK = HeadBlock
