"""Classifier of a text encoder, on its first token."""

from torch import Tensor, nn


class TextHead(nn.Module):
    """`hidden_NTD` to `logits_NK`, or to `pooled_ND` without classes."""

    def __init__(self, embed: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.pooler = nn.Linear(embed, embed)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(embed, classes) if classes else None
        for linear in (self.pooler, self.classifier):
            if linear is not None:
                nn.init.normal_(linear.weight, std=0.02)
                nn.init.zeros_(linear.bias)

    def forward(self, hidden_NTD: Tensor) -> Tensor:
        pooled_ND: Tensor = self.pooler(hidden_NTD[:, 0]).tanh()
        if self.classifier is None:
            return pooled_ND
        logits_NK: Tensor = self.classifier(self.dropout(pooled_ND))
        return logits_NK


BLOCK = TextHead
