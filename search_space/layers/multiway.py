"""Layers of a network in which an image and a text are one sequence, the image first: BEiT-3 (arXiv 2208.10442).

Every weight is there twice, for positions of the image and for those of the text; attention goes across. Costs are for
one image and one text of `text_tokens` positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from search_space.layers.base import LayerSpec, Part, linear_part, norm_part
from search_space.layers.stack import Shape, norm_shapes

IMAGE, TEXT = "image", "text"


@dataclass(frozen=True)
class JointSequenceSpec(LayerSpec):
    """Puts the tokens of a text behind those of an image. It has no weights.

    Attributes:
        tokens: positions of both.
    """

    kind: ClassVar[str] = "joint_sequence"
    fixed: ClassVar[frozenset[str]] = frozenset({"embed"})
    free: ClassVar[frozenset[str]] = frozenset({"tokens"})

    embed: int
    tokens: int

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """None."""
        return {}

    def parts(self) -> dict[str, Part]:
        return {"sequence": Part(0, 0, 0, 2 * self.tokens * self.embed)}


@dataclass(frozen=True)
class MultiwayLayerSpec(LayerSpec):
    """Attention over both, and a feed-forward network for each of the two, with norms before and inside of them.

    Attributes:
        heads: heads of each half, because queries of one meet keys of the other.
        image_ffn: width of the image's feed-forward network.
        text_ffn: that of the text's; 0: its positions end here. Then they only give keys and values, and the layer
            gives the positions of the image alone.
        image_tokens: positions of the image, which are the first ones.
    """

    kind: ClassVar[str] = "multiway_layer"
    fixed: ClassVar[frozenset[str]] = frozenset({"embed", "head_dim", "image_tokens", "eps"})
    free: ClassVar[frozenset[str]] = frozenset({"text_tokens"})

    embed: int
    heads: int
    head_dim: int
    image_ffn: int
    text_ffn: int
    image_tokens: int
    text_tokens: int
    eps: float

    def branches(self) -> tuple[str, ...]:
        """Attention and feed-forward networks: what each adds to the sequence goes through this."""
        return ("added",)

    @property
    def width(self) -> int:
        """Numbers of all heads."""
        return self.heads * self.head_dim

    @property
    def halves(self) -> dict[str, tuple[int, int]]:
        """Positions of each half, and width of its feed-forward network."""
        return {IMAGE: (self.image_tokens, self.image_ffn), TEXT: (self.text_tokens, self.text_ffn)}

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        shapes: dict[str, Shape] = {}
        for half, (_, ffn) in self.halves.items():
            norms = {"attention_norm": self.embed}
            linears = dict.fromkeys(("query", "key", "value"), (self.width, self.embed))
            if ffn:
                norms |= {"attention_inner_norm": self.width, "ffn_norm": self.embed, "ffn_inner_norm": ffn}
                linears |= {"output": (self.embed, self.width), "ffn_in": (ffn, self.embed)}
                linears |= {"ffn_out": (self.embed, ffn)}
            else:
                del linears["query"]
            for name, features in norms.items():
                shapes |= norm_shapes(f"{half}_{name}", "layer", features)
            for name, shape in linears.items():
                shapes |= {f"{half}_{name}.weight": shape, f"{half}_{name}.bias": shape[:1]}
        return shapes

    def parts(self) -> dict[str, Part]:
        embed, width = self.embed, self.width
        every, asking = self.image_tokens + self.text_tokens, sum(n for n, ffn in self.halves.values() if ffn)
        held = every * embed
        parts: dict[str, Part] = {}
        ready = held
        for half, (tokens, ffn) in self.halves.items():
            parts[f"{half}_attention_norm"] = norm_part(embed, tokens=tokens, held=ready)
            for name in ("query", "key", "value") if ffn else ("key", "value"):
                parts[f"{half}_{name}"] = linear_part(embed, width, tokens=tokens, held=ready)
                ready += width * tokens  # which waits for attention
        # Queries and outputs, keys and values: the scores are not stored whole.
        seen = 2 * asking + 2 * every
        parts["attention"] = Part(0, 0, 2 * asking * every * width, seen * width + held)
        for half, (tokens, ffn) in self.halves.items():
            if ffn:
                parts[f"{half}_attention_inner_norm"] = norm_part(width, tokens=tokens, held=held)
                parts[f"{half}_output"] = linear_part(width, embed, tokens=tokens, held=held)
        for half, (tokens, ffn) in self.halves.items():
            if ffn:
                parts[f"{half}_ffn_norm"] = norm_part(embed, tokens=tokens, held=held)
                parts[f"{half}_ffn_in"] = linear_part(embed, ffn, tokens=tokens, held=held)
                parts[f"{half}_ffn_inner_norm"] = norm_part(ffn, tokens=tokens, held=held)
                parts[f"{half}_ffn_out"] = linear_part(ffn, embed, tokens=tokens, held=held)
        return parts


@dataclass(frozen=True)
class AnswerHeadSpec(LayerSpec):
    """Classifies a pair by its first token: norm, linear layer, tanh, then a layer of twice the width, norm, GELU, and
    the classifier.
    """

    kind: ClassVar[str] = "answer_head"
    fixed: ClassVar[frozenset[str]] = frozenset({"embed", "classes", "eps"})

    embed: int
    classes: int
    eps: float

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        embed = self.embed
        shapes = norm_shapes("norm", "layer", embed) | norm_shapes("wide_norm", "layer", 2 * embed)
        linears = {"pooler": (embed, embed), "wide": (2 * embed, embed), "classifier": (self.classes, 2 * embed)}
        for name, shape in linears.items():
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
        return shapes

    def parts(self) -> dict[str, Part]:
        embed = self.embed
        return {
            "norm": norm_part(embed),
            "pooler": linear_part(embed, embed),
            "wide": linear_part(embed, 2 * embed),
            "wide_norm": norm_part(2 * embed),
            "classifier": linear_part(2 * embed, self.classes),
        }
