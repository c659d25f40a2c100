"""Makes one vector of a map of channels, and perhaps classifies it."""

from torch import Tensor, nn


class MapHead(nn.Module):
    """`x_NCHW` to `logits_NK`, or to `pooled_NC` without classes."""

    def __init__(
        self, channels: int, classes: int, size: int, pool: str, norm: bool, eps: float, dropout: float
    ) -> None:
        super().__init__()
        self.pool = pool
        self.norm = nn.LayerNorm(channels, eps) if norm else None
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, classes) if classes else None
        if self.classifier is not None:
            nn.init.trunc_normal_(self.classifier.weight, std=0.02)
            nn.init.zeros_(self.classifier.bias)
            # Channels that it takes, for `supernet.importance`: the field, what reads them, every tensor with them.
            self.takes = ("channels", ("classifier",), (("norm", 0), ("classifier.weight", 1)))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out = x_NCHW.mean((2, 3)) if self.pool == "mean" else x_NCHW.amax((2, 3))
        if self.norm is not None:
            out = self.norm(out)
        return out if self.classifier is None else self.classifier(self.dropout(out))


BLOCK = MapHead
