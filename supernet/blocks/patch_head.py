"""Classifier of an image transformer."""

from torch import Tensor, nn


class PatchHead(nn.Module):
    """`hidden_NTD` to `logits_NK`."""

    def __init__(self, embed: int, classes: int, tokens: int, pool: str, eps: float) -> None:
        super().__init__()
        self.pool = pool
        self.norm = nn.LayerNorm(embed, eps)
        self.classifier = nn.Linear(embed, classes)
        nn.init.trunc_normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, hidden_NTD: Tensor) -> Tensor:
        hidden_NTD = self.norm(hidden_NTD)
        pooled_ND = hidden_NTD[:, 0] if self.pool == "class_token" else hidden_NTD[:, 1:].mean(1)
        logits_NK: Tensor = self.classifier(pooled_ND)
        return logits_NK


BLOCK = PatchHead
