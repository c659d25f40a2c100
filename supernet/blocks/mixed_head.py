"""Makes one vector of a map of channels, mixes it, and perhaps classifies it."""

from torch import Tensor, nn
from transformers.activations import ACT2FN


class MixedHead(nn.Module):
    """`x_NCHW` to `logits_NK`, or to `mixed_NM` without classes."""

    def __init__(self, channels: int, mix: int, classes: int, size: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.mix = nn.Linear(channels, mix)
        self.activation = ACT2FN[activation]
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(mix, classes) if classes else None
        # Channels that it takes, for `supernet.importance`: the field, what reads them, every tensor with them.
        self.takes = ("channels", ("mix",), (("mix.weight", 1),))
        # Axes that may be permuted without changing what the block computes (`supernet.importance`).
        members = (("mix.weight", 0), ("mix.bias", 0), ("classifier.weight", 1))
        self.axes = (("mix", "classifier", members),) if classes else ()
        for linear in (self.mix, self.classifier):
            if linear is not None:
                nn.init.trunc_normal_(linear.weight, std=0.02)
                nn.init.zeros_(linear.bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out_NM: Tensor = self.activation(self.mix(x_NCHW.mean((2, 3))))
        return out_NM if self.classifier is None else self.classifier(self.dropout(out_NM))


BLOCK = MixedHead
