"""Ends of towers: networks of images and of texts whose vectors are compared.

CLIP (arXiv 2103.00020) and SigLIP (2303.15343). Between the ends stand layers of `stack`. Costs are for one pair: one
image and one text of `tokens` positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from search_space.layers.base import LayerSpec, Part, conv_part, linear_part, norm_part
from search_space.layers.stack import Shape, norm_shapes

# What a tower's vector is made of: the class token; what a learned query sees of all tokens (SigLIP's multi-head
# attention pooling); the token at the end of the text; the last position, padding or not.
CLASS_TOKEN, ATTENTION, END, LAST = "class_token", "attention", "end", "last"
# In place of the token that ends a text: the largest id does, as in the first CLIPs; none does.
LARGEST, NONE = -1, -2


@dataclass(frozen=True)
class ImageTowerSpec(LayerSpec):
    """Patches of the network's images, perhaps behind a class token, with learned positions.

    Attributes:
        class_token: whether there is one.
        bias: bias of the patches.
        norm: whether all tokens are normalised before the first layer (CLIP).
    """

    kind: ClassVar[str] = "image_tower"
    fixed: ClassVar[frozenset[str]] = frozenset(
        {"channels", "embed", "patch", "size", "class_token", "bias", "norm", "eps"}
    )

    channels: int
    embed: int
    patch: int
    size: int
    class_token: bool
    bias: bool
    norm: bool
    eps: float

    @property
    def tokens(self) -> int:
        """Positions, the class token's included."""
        return (self.size // self.patch) ** 2 + self.class_token

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        shapes: dict[str, Shape] = {"patches.weight": (self.embed, self.channels, self.patch, self.patch)}
        if self.bias:
            shapes["patches.bias"] = (self.embed,)
        if self.class_token:
            shapes["class_token"] = (self.embed,)
        shapes["positions"] = (self.tokens, self.embed)
        return shapes | (norm_shapes("norm", "layer", self.embed) if self.norm else {})

    def parts(self) -> dict[str, Part]:
        grid, live = self.size // self.patch, 2 * self.tokens * self.embed
        parts = {
            "patches": conv_part(self.channels, self.embed, self.patch, self.size, grid, bias=self.bias, norm=False),
        }
        if self.class_token:
            parts["class_token"] = Part(self.embed, 0, 0, live)
        parts["positions"] = Part(self.tokens * self.embed, 0, 0, live)
        return parts | ({"norm": norm_part(self.embed, tokens=self.tokens)} if self.norm else {})


@dataclass(frozen=True)
class TextTowerSpec(LayerSpec):
    """Tokens of the network's texts and their positions, summed.

    Attributes:
        positions: most positions that a text may have.
        end: token that ends a text, which is read up to the first of them; `LARGEST`, or `NONE`: all of it is read.
    """

    kind: ClassVar[str] = "text_tower"
    fixed: ClassVar[frozenset[str]] = frozenset({"vocab", "embed", "positions", "end"})
    free: ClassVar[frozenset[str]] = frozenset({"tokens"})

    vocab: int
    embed: int
    positions: int
    end: int
    tokens: int

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        return {"tokens.weight": (self.vocab, self.embed), "positions.weight": (self.positions, self.embed)}

    def parts(self) -> dict[str, Part]:
        live = 2 * self.tokens * self.embed
        return {
            "tokens": Part(self.vocab * self.embed, 0, 0, live),
            "positions": Part(self.positions * self.embed, 0, 0, live),
        }


@dataclass(frozen=True)
class TowerHeadSpec(LayerSpec):
    """Makes a tower's vector: normalises, pools, projects.

    Attributes:
        width: width of the vector, the same for all towers.
        pool: `class_token`, `attention`, `end` or `last`.
        projects: whether a linear layer follows; without one `width` is `embed`.
        heads, ffn, activation: sizes and activation of the pooling by attention; 0 and empty otherwise.
    """

    kind: ClassVar[str] = "tower_head"
    fixed: ClassVar[frozenset[str]] = frozenset({"embed", "width", "projects", "bias", "heads", "ffn", "eps"})
    free: ClassVar[frozenset[str]] = frozenset({"tokens"})

    embed: int
    width: int
    tokens: int
    pool: str
    projects: bool
    bias: bool
    heads: int
    ffn: int
    activation: str
    eps: float

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        embed = self.embed
        shapes = norm_shapes("norm", "layer", embed)
        if self.pool == ATTENTION:
            shapes["probe"] = (1, embed)
            sizes = dict.fromkeys(("query", "key", "value", "output"), (embed, embed))
            sizes |= {"ffn_in": (self.ffn, embed), "ffn_out": (embed, self.ffn)}
            for name, shape in sizes.items():
                shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
            shapes |= norm_shapes("pooled_norm", "layer", embed)
        if self.projects:
            shapes["projection.weight"] = (self.width, embed)
        return shapes | ({"projection.bias": (self.width,)} if self.projects and self.bias else {})

    def parts(self) -> dict[str, Part]:
        embed, tokens = self.embed, self.tokens
        # A norm of single tokens: only the pooled one needs it, unless attention looks at all.
        parts = {"norm": norm_part(embed, tokens=tokens if self.pool == ATTENTION else 1)}
        if self.pool == ATTENTION:
            held = tokens * embed
            parts |= {
                "probe": Part(embed, 0, 0, held + embed),
                # Of the probe, which is no data: exporters compute it once, so there is no layer left to quantize.
                "query": Part(embed * embed, embed, embed * embed, held + 2 * embed),
                "key": linear_part(embed, embed, tokens=tokens, held=embed),
                "value": linear_part(embed, embed, tokens=tokens, held=held + embed),
                "attention": Part(0, 0, 2 * tokens * embed, 2 * held + 2 * embed),
                "output": linear_part(embed, embed),
                "pooled_norm": norm_part(embed, held=embed),
                "ffn_in": linear_part(embed, self.ffn, held=embed),
                "ffn_out": linear_part(self.ffn, embed, held=embed),
            }
        if self.projects:
            parts["projection"] = linear_part(embed, self.width, self.bias)
        return parts


@dataclass(frozen=True)
class PairHeadSpec(LayerSpec):
    """Compares the vectors of two towers: what a pair answers are two vectors whose product is its logit.

    The logit of image i and text j is `exp(scale) cos(i, j) + bias`. The first vector is the image's unit vector times
    `exp(scale)`, with the bias (or 0) behind it; the second is the text's unit vector, with a 1 behind it. So every
    pair has an answer of its own, whatever else is in its batch.

    Attributes:
        width: width of the vectors.
        bias: whether logits have one, as those that are trained by the sigmoid loss do.
    """

    kind: ClassVar[str] = "pair_head"
    fixed: ClassVar[frozenset[str]] = frozenset({"width", "bias"})

    width: int
    bias: bool

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        shapes: dict[str, Shape] = {"scale": ()}
        return shapes | {"bias": ()} if self.bias else shapes

    def parts(self) -> dict[str, Part]:
        live = 4 * (self.width + 1)
        return {"scale": Part(0, 1, 0, live)} | ({"bias": Part(0, 1, 0, live)} if self.bias else {})
