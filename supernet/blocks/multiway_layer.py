"""A layer of BEiT-3 over an image and a text in one sequence: weights for each of them, and attention across."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiwayLayer(nn.Module):
    """`hidden_NTD` to `hidden_NTD`, the image's positions first. `mask_NT` is False where a text is padding.

    Without neurons of the text its positions only give keys and values, and those of the image alone are given.
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
        self.heads, self.image_tokens = heads, image_tokens
        # Halves that go on behind this layer.
        self.going = ("image", "text") if text_ffn else ("image",)
        # What is added to the sequence goes through it, so that it can be left out.
        self.added = nn.Identity()
        self.activation = nn.GELU()
        width = heads * head_dim
        made: dict[str, nn.Module] = {}
        for half, ffn in (("image", image_ffn), ("text", text_ffn)):
            made[f"{half}_attention_norm"] = nn.LayerNorm(embed, eps)
            made[f"{half}_key"], made[f"{half}_value"] = nn.Linear(embed, width), nn.Linear(embed, width)
            if ffn:
                made[f"{half}_query"] = nn.Linear(embed, width)
                made[f"{half}_attention_inner_norm"] = nn.LayerNorm(width, eps)
                made[f"{half}_output"] = nn.Linear(width, embed)
                made[f"{half}_ffn_norm"] = nn.LayerNorm(embed, eps)
                made[f"{half}_ffn_in"], made[f"{half}_ffn_out"] = nn.Linear(embed, ffn), nn.Linear(ffn, embed)
                made[f"{half}_ffn_inner_norm"] = nn.LayerNorm(ffn, eps)
        for name, module in made.items():
            setattr(self, name, module)
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.axes = self._axes()

    def _axes(self) -> tuple[Any, ...]:
        """Axes that may be permuted without changing what the layer computes (`supernet.importance`)."""
        outputs = tuple(f"{half}_output" for half in self.going)
        names = ("query", "key", "value", "attention_inner_norm")
        rows = [(f"{half}_{name}", 0) for half in ("image", "text") for name in names]
        found: list[Any] = [("heads", outputs, (*rows, *((f"{name}.weight", 1) for name in outputs)))]
        for half in self.going:
            rows = [(f"{half}_ffn_in", 0), (f"{half}_ffn_inner_norm", 0)]
            found.append((f"{half}_ffn", f"{half}_ffn_out", (*rows, (f"{half}_ffn_out.weight", 1))))
        return tuple(found)

    def forward(self, hidden_NTD: Tensor, mask_NT: Tensor | None = None) -> Tensor:
        every = self._parts(hidden_NTD)
        normed = {half: getattr(self, f"{half}_attention_norm")(x_NTD) for half, x_NTD in every.items()}
        q_NHTC, k_NHTC, v_NHTC = (
            torch.cat([getattr(self, f"{half}_{name}")(normed[half]) for half in halves], 1)
            .unflatten(-1, (self.heads, -1))
            .transpose(1, 2)
            for name, halves in (("query", self.going), ("key", ("image", "text")), ("value", ("image", "text")))
        )
        mask = None if mask_NT is None else mask_NT[:, None, None, :]
        seen_NTD = F.scaled_dot_product_attention(q_NHTC, k_NHTC, v_NHTC, mask).transpose(1, 2).flatten(2)
        seen = self._parts(seen_NTD)
        attended = torch.cat([self._attended(half, seen[half]) for half in self.going], 1)
        hidden_NTD = hidden_NTD[:, : seen_NTD.shape[1]] + self.added(attended)
        every = self._parts(hidden_NTD)
        out_NTD: Tensor = hidden_NTD + self.added(torch.cat([self._fed(half, every[half]) for half in self.going], 1))
        return out_NTD

    def _parts(self, x_NTD: Tensor) -> dict[str, Tensor]:
        """Positions of each half."""
        return {"image": x_NTD[:, : self.image_tokens], "text": x_NTD[:, self.image_tokens :]}

    def _attended(self, half: str, x_NTD: Tensor) -> Tensor:
        """What a half's output gives."""
        norm, output = getattr(self, f"{half}_attention_inner_norm"), getattr(self, f"{half}_output")
        attended_NTD: Tensor = output(norm(x_NTD))
        return attended_NTD

    def _fed(self, half: str, x_NTD: Tensor) -> Tensor:
        """What a half's feed-forward network gives."""
        norm, inner_norm = getattr(self, f"{half}_ffn_norm"), getattr(self, f"{half}_ffn_inner_norm")
        into, out = getattr(self, f"{half}_ffn_in"), getattr(self, f"{half}_ffn_out")
        fed_NTD: Tensor = out(inner_norm(self.activation(into(norm(x_NTD)))))
        return fed_NTD


BLOCK = MultiwayLayer
