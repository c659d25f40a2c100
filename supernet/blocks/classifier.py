"""Image classifier: global average pooling, linear layer."""

from torch import Tensor, nn


class ClassifierBlock(nn.Module):
    """`x_NCHW` to `logits_NK`."""

    # Channels that it takes, for `supernet.importance`: the field, what reads them, every tensor with them.
    takes = ("in_channels", ("classifier",), (("classifier.weight", 1),))

    def __init__(self, in_channels: int, classes: int, size: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(in_channels, classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        logits_NK: Tensor = self.classifier(x_NCHW.mean((2, 3)))
        return logits_NK


BLOCK = ClassifierBlock
