"""MLP-Mixer (arXiv 2105.01601) on small images, with elastic depth and hidden sizes: a family of one's own.

Put this file into the folder that `WINNOW_FAMILIES_DIR` names.
"""

from dataclasses import dataclass
from typing import ClassVar

from search_space.adjustments import Adjustments, Options, space_name, whole
from search_space.inputs import ImageInput
from search_space.layers import LayerSpec, Part, linear_part, norm_part
from search_space.space import Choice, SearchSpace

# --- the layers, in numbers --------------------------------------------------------------------------


@dataclass(frozen=True)
class PatchesSpec(LayerSpec):
    """An image to patches, and each patch to a vector."""

    kind: ClassVar[str] = "patches"
    fixed: ClassVar[frozenset[str]] = frozenset({"pixels", "patch", "width"})

    pixels: int
    patch: int
    width: int

    def parts(self) -> dict[str, Part]:
        patches = (self.pixels // self.patch) ** 2
        return {"linear": linear_part(self.patch**2, self.width, tokens=patches)}


@dataclass(frozen=True)
class MixerSpec(LayerSpec):
    """Mix the patches, then mix the channels; each adds to its input."""

    kind: ClassVar[str] = "mixer"
    fixed: ClassVar[frozenset[str]] = frozenset({"patches", "width"})

    patches: int
    width: int
    tokens: int  # hidden size between patches
    channels: int  # hidden size between channels

    def parts(self) -> dict[str, Part]:
        n, d = self.patches, self.width
        return {
            "norm1": norm_part(d, tokens=n, held=0),
            "tokens_up": linear_part(n, self.tokens, tokens=d, held=n * d),
            "tokens_down": linear_part(self.tokens, n, tokens=d, held=n * d),
            "norm2": norm_part(d, tokens=n, held=0),
            "channels_up": linear_part(d, self.channels, tokens=n, held=n * d),
            "channels_down": linear_part(self.channels, d, tokens=n, held=n * d),
        }


@dataclass(frozen=True)
class MeanSpec(LayerSpec):
    """The mean over patches to logits."""

    kind: ClassVar[str] = "mean"
    fixed: ClassVar[frozenset[str]] = frozenset({"patches", "width", "classes"})

    patches: int
    width: int
    classes: int

    def parts(self) -> dict[str, Part]:
        return {
            "norm": norm_part(self.width, tokens=self.patches),
            "linear": linear_part(self.width, self.classes),
        }


# --- the choices, and how values become layers -------------------------------------------------------

PRESETS = {
    "digits": {
        "pixels": 8,
        "patch": 2,
        "width": 32,
        "classes": 10,
        "depths": (1, 2, 3, 4),
        "tokens": (8, 16, 32),
        "channels": (32, 64, 128),
    }
}


def space(preset: str, adjustments: Adjustments) -> SearchSpace:
    """The space of a preset."""
    table = PRESETS[preset]
    name = space_name("mixer", preset, adjustments)
    classes = adjustments.classes or table["classes"]
    options = Options(name, adjustments)
    depths = options.of("depth", table["depths"], whole(1, 32))
    choices = [Choice("depth", depths)]
    for b in range(1, depths[-1] + 1):
        deep_enough = tuple(depth for depth in depths if depth >= b)
        when = None if deep_enough == depths else ("depth", deep_enough)
        for part in ("tokens", "channels"):
            choice = f"block{b}_{part}"
            choices.append(Choice(choice, options.of(choice, table[part], whole()), when))
    options.finish()
    patches, width = (table["pixels"] // table["patch"]) ** 2, table["width"]

    def blueprint(values) -> dict[str, LayerSpec]:
        layers: dict[str, LayerSpec] = {"patches": PatchesSpec(table["pixels"], table["patch"], width)}
        for b in range(1, values["depth"] + 1):
            layers[f"block{b}"] = MixerSpec(patches, width, values[f"block{b}_tokens"], values[f"block{b}_channels"])
        return layers | {"mean": MeanSpec(patches, width, classes)}

    return SearchSpace(name, choices, blueprint, takes=ImageInput(1, table["pixels"], classes))


# --- the torch modules: constructor arguments are the fields of the spec, in order -------------------


def blocks():
    """Kind -> module."""
    from torch import nn
    from torch.nn.functional import gelu, unfold

    class Patches(nn.Module):
        def __init__(self, pixels, patch, width):
            super().__init__()
            self.patch = patch
            self.linear = nn.Linear(patch**2, width)

        def forward(self, x_NCHW):
            return self.linear(unfold(x_NCHW, self.patch, stride=self.patch).transpose(1, 2).contiguous())

    class Mixer(nn.Module):
        def __init__(self, patches, width, tokens, channels):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.tokens_up, self.tokens_down = nn.Linear(patches, tokens), nn.Linear(tokens, patches)
            self.channels_up, self.channels_down = nn.Linear(width, channels), nn.Linear(channels, width)

        def forward(self, x_NPC):
            # A matrix product of a transposed view rounds otherwise where gradients are wanted.
            turned_NCP = self.norm1(x_NPC).transpose(1, 2).contiguous()
            mixed_NCP = self.tokens_down(gelu(self.tokens_up(turned_NCP)))
            x_NPC = x_NPC + mixed_NCP.transpose(1, 2)
            return x_NPC + self.channels_down(gelu(self.channels_up(self.norm2(x_NPC))))

    class Mean(nn.Module):
        def __init__(self, patches, width, classes):
            super().__init__()
            self.norm = nn.LayerNorm(width)
            self.linear = nn.Linear(width, classes)

        def forward(self, x_NPC):
            return self.linear(self.norm(x_NPC).mean(1))

    return {"patches": Patches, "mixer": Mixer, "mean": Mean}
