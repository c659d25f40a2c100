"""A layer of BEiT-3 over an image and a text in one sequence: weights for each of them, and attention across."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiwayHalf(nn.Module):
    """The weights of one half. Without neurons its positions only give keys and values."""

    # Of a half that goes on alone.
    query: Any
    output: Any

    def __init__(self, embed: int, heads: int, head_dim: int, ffn: int, eps: float) -> None:
        super().__init__()
        width = heads * head_dim
        self.heads = heads
        self.attention_norm = nn.LayerNorm(embed, eps)
        self.query = nn.Linear(embed, width) if ffn else None
        self.key, self.value = nn.Linear(embed, width), nn.Linear(embed, width)
        if ffn:
            self.attention_inner_norm = nn.LayerNorm(width, eps)
            self.output = nn.Linear(width, embed)
            self.ffn_norm = nn.LayerNorm(embed, eps)
            self.ffn_in, self.ffn_out = nn.Linear(embed, ffn), nn.Linear(ffn, embed)
            self.ffn_inner_norm = nn.LayerNorm(ffn, eps)
            self.activation = nn.GELU()
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def projected(self, hidden_NTD: Tensor) -> list[Tensor]:
        """Keys, values and, of a half that goes on, queries, `(N, heads, T, head_dim)`."""
        hidden_NTD = self.attention_norm(hidden_NTD)
        layers = [self.key, self.value] if self.query is None else [self.key, self.value, self.query]
        return [layer(hidden_NTD).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in layers]

    def attended(self, seen_NTD: Tensor) -> Tensor:
        """What attention adds."""
        out_NTD: Tensor = self.output(self.attention_inner_norm(seen_NTD))
        return out_NTD

    def fed(self, hidden_NTD: Tensor) -> Tensor:
        """What the feed-forward network adds."""
        inner = self.ffn_inner_norm(self.activation(self.ffn_in(self.ffn_norm(hidden_NTD))))
        out_NTD: Tensor = self.ffn_out(inner)
        return out_NTD


class MultiwayLayer(nn.Module):
    """`hidden_NTD` to `hidden_NTD`, the image's positions first. `mask_NT` is False where a text is padding.

    Without neurons of the text, the positions of the image alone are given.
    """

    takes_mask = True

    def __init__(
        self,
        embed: int,
        heads: int,
        head_dim: int,
        image_ffn: int,
        text_ffn: int,
        image_tokens: int,
        text_tokens: int,
        eps: float,
    ) -> None:
        super().__init__()
        self.image_tokens = image_tokens
        self.image = MultiwayHalf(embed, heads, head_dim, image_ffn, eps)
        self.text = MultiwayHalf(embed, heads, head_dim, text_ffn, eps)
        # What is added to the sequence goes through it, so that it can be left out.
        self.added = nn.Identity()
        both = {"image": bool(image_ffn), "text": bool(text_ffn)}
        linears = ("query", "key", "value", "output", "ffn_in", "ffn_out")
        self.part_modules = {f"{half}_{name}": f"{half}.{name}" for half in both for name in linears}
        # Axes that may be permuted without changing what the layer computes (`supernet.importance`).
        rows = [f"{half}.{name}" for half in both for name in ("query", "key", "value", "attention_inner_norm")]
        outputs = tuple(f"{half}.output" for half, goes_on in both.items() if goes_on)
        members = (*((name, 0) for name in rows), *((f"{name}.weight", 1) for name in outputs))
        self.axes: list[Any] = [("heads", outputs, members)]
        for half, goes_on in both.items():
            out, rows = f"{half}.ffn_out", [f"{half}.ffn_in", f"{half}.ffn_inner_norm"]
            if goes_on:
                self.axes.append((f"{half}_ffn", (out,), (*((name, 0) for name in rows), (f"{out}.weight", 1))))

    def forward(self, hidden_NTD: Tensor, mask_NT: Tensor | None = None) -> Tensor:
        image_NTD, text_NTD = hidden_NTD[:, : self.image_tokens], hidden_NTD[:, self.image_tokens :]
        image, text = self.image.projected(image_NTD), self.text.projected(text_NTD)
        # Queries are the last, and those of a text may be missing.
        k_NHTC, v_NHTC = (torch.cat(two, 2) for two in zip(image[:2], text[:2], strict=True))
        q_NHTC = torch.cat((*image[2:], *text[2:]), 2)
        mask = None if mask_NT is None else mask_NT[:, None, None, :]
        seen_NTD = F.scaled_dot_product_attention(q_NHTC, k_NHTC, v_NHTC, mask).transpose(1, 2).flatten(2)
        hidden_NTD = hidden_NTD[:, : seen_NTD.shape[1]]
        hidden_NTD = hidden_NTD + self.added(self._each(seen_NTD, self.image.attended, self.text.attended))
        return hidden_NTD + self.added(self._each(hidden_NTD, self.image.fed, self.text.fed))

    def _each(self, x_NTD: Tensor, image: Callable[[Tensor], Tensor], text: Callable[[Tensor], Tensor]) -> Tensor:
        """What each half makes of its own positions."""
        image_NTD = image(x_NTD[:, : self.image_tokens])
        if self.text.query is None:
            return image_NTD
        return torch.cat((image_NTD, text(x_NTD[:, self.image_tokens :])), 1)


BLOCK = MultiwayLayer
