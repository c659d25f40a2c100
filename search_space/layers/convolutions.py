"""Layers of the convolutional networks that people bring: padding, norms and gates as their checkpoints have them.

Costs are for one image of `size` pixels a side. Every part is a module or parameter of its block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

from search_space.layers.base import LayerSpec, Part, conv_part, linear_part, norm_part
from search_space.layers.stack import Shape, norm_shapes


def batch_norm_shapes(name: str, channels: int) -> dict[str, Shape]:
    """Parameters and running statistics of a batch normalisation."""
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


@dataclass(frozen=True)
class PaddedConvSpec(LayerSpec):
    """A convolution with zeros before and behind its image, batch normalisation and an activation.

    Attributes:
        before, after: rows and columns of zeros; TensorFlow's are not the same on both sides.
        activation: transformers' word for it.
    """

    kind: ClassVar[str] = "padded_conv"
    fixed: ClassVar[frozenset[str]] = frozenset({"kernel", "stride", "before", "after", "size", "eps"})

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    before: int
    after: int
    size: int
    activation: str
    eps: float

    @property
    def out_size(self) -> int:
        """Pixels a side of its output."""
        return (self.size + self.before + self.after - self.kernel) // self.stride + 1

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters and statistics of its block."""
        weight = {"conv.weight": (self.out_channels, self.in_channels, self.kernel, self.kernel)}
        return {**weight, **batch_norm_shapes("norm", self.out_channels)}

    def parts(self) -> dict[str, Part]:
        return {"conv": conv_part(self.in_channels, self.out_channels, self.kernel, self.size, self.out_size)}


@dataclass(frozen=True)
class InvertedResidualSpec(LayerSpec):
    """Expand 1x1, depthwise, squeeze and excite, project 1x1, perhaps a shortcut (MobileNetV2 and V3, EfficientNet).

    Attributes:
        hidden: channels inside.
        before, after: zeros around what the depthwise convolution reads.
        expand: whether there is an expanding convolution; without one `hidden` is `in_channels`.
        squeeze: channels of squeeze and excite; 0: none.
        squeeze_activation: between squeeze and excite, where it is another; transformers' word for it.
        gate: behind excite, a class of `torch.nn`; empty: a sigmoid.
    """

    kind: ClassVar[str] = "inverted_residual"
    fixed: ClassVar[frozenset[str]] = frozenset(
        {"kernel", "stride", "before", "after", "dilation", "size", "expand", "squeeze", "eps", "shortcut"}
    )

    in_channels: int
    hidden: int
    out_channels: int
    kernel: int
    stride: int
    before: int
    after: int
    dilation: int
    size: int
    activation: str
    expand: bool
    squeeze: int
    eps: float
    shortcut: bool
    # Not in `repr` nor, where they are empty, in `fields`: names of spaces and keys of latency tables that are stored
    # are made of both.
    squeeze_activation: str = field(default="", repr=False)
    gate: str = field(default="", repr=False)

    def fields(self) -> dict[str, int | str | bool]:
        """See `LayerSpec`; without functions of squeeze and excite that are as usual."""
        found = super().fields()
        return {name: value for name, value in found.items() if value or name not in ("squeeze_activation", "gate")}

    def branches(self) -> tuple[str, ...]:
        """The convolutions, where the shortcut is the input."""
        return ("project_norm",) if self.shortcut else ()

    @property
    def out_size(self) -> int:
        """Pixels a side of its output."""
        return (self.size + self.before + self.after - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters and statistics of its block."""
        shapes: dict[str, Shape] = {}
        if self.expand:
            shapes["expand.weight"] = (self.hidden, self.in_channels, 1, 1)
            shapes |= batch_norm_shapes("expand_norm", self.hidden)
        shapes["depthwise.weight"] = (self.hidden, 1, self.kernel, self.kernel)
        shapes |= batch_norm_shapes("depthwise_norm", self.hidden)
        if self.squeeze:
            shapes |= {"squeeze.weight": (self.squeeze, self.hidden, 1, 1), "squeeze.bias": (self.squeeze,)}
            shapes |= {"excite.weight": (self.hidden, self.squeeze, 1, 1), "excite.bias": (self.hidden,)}
        shapes["project.weight"] = (self.out_channels, self.hidden, 1, 1)
        return shapes | batch_norm_shapes("project_norm", self.out_channels)

    def hands_on(self) -> Literal["other", "same", "padded"]:
        """See `LayerSpec`."""
        return "same" if self.shortcut else "other"

    def parts(self) -> dict[str, Part]:
        size, out = self.size, self.out_size
        held = self.in_channels * size * size if self.shortcut else 0
        parts = {"expand": conv_part(self.in_channels, self.hidden, 1, size, size, held=held)} if self.expand else {}
        parts["depthwise"] = conv_part(self.hidden, self.hidden, self.kernel, size, out, groups=self.hidden, held=held)
        if self.squeeze:
            kept = held + self.hidden * out * out
            parts["squeeze"] = conv_part(self.hidden, self.squeeze, 1, 1, 1, bias=True, norm=False, held=kept)
            parts["excite"] = conv_part(self.squeeze, self.hidden, 1, 1, 1, bias=True, norm=False, held=kept)
        return parts | {"project": conv_part(self.hidden, self.out_channels, 1, out, out, held=held)}


@dataclass(frozen=True)
class PatchConvSpec(LayerSpec):
    """A convolution whose windows do not overlap, with a layer norm over channels before or behind it (ConvNeXt)."""

    kind: ClassVar[str] = "patch_conv"
    fixed: ClassVar[frozenset[str]] = frozenset({"in_channels", "out_channels", "kernel", "size", "norm_first", "eps"})

    in_channels: int
    out_channels: int
    kernel: int
    size: int
    norm_first: bool
    eps: float

    @property
    def out_size(self) -> int:
        """Pixels a side of its output."""
        return self.size // self.kernel

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        shapes: dict[str, Shape] = {
            "conv.weight": (self.out_channels, self.in_channels, self.kernel, self.kernel),
            "conv.bias": (self.out_channels,),
        }
        return shapes | norm_shapes("norm", "layer", self.in_channels if self.norm_first else self.out_channels)

    def parts(self) -> dict[str, Part]:
        before, out = self.in_channels, self.out_size
        conv = {"conv": conv_part(before, self.out_channels, self.kernel, self.size, out, bias=True, norm=False)}
        if self.norm_first:
            return {"norm": norm_part(before, tokens=self.size**2), **conv}
        return {**conv, "norm": norm_part(self.out_channels, tokens=out**2)}


@dataclass(frozen=True)
class ConvNextLayerSpec(LayerSpec):
    """Depthwise convolution, layer norm, two linear layers at every pixel, and a shortcut.

    Attributes:
        hidden: between the linear layers.
        response: whether their activations are normalised over all channels there (ConvNeXt V2).
        layer_scale: whether what is added is multiplied by a learned vector.
    """

    kind: ClassVar[str] = "convnext_layer"
    fixed: ClassVar[frozenset[str]] = frozenset({"channels", "kernel", "size", "eps", "layer_scale", "response"})

    channels: int
    hidden: int
    kernel: int
    size: int
    activation: str
    eps: float
    layer_scale: bool
    response: bool

    def branches(self) -> tuple[str, ...]:
        """Everything but the sum."""
        return ("project",)

    @property
    def norms_across(self) -> frozenset[str]:
        """Fields along which a norm spans: see `TransformerLayerSpec`."""
        return frozenset({"hidden"}) if self.response else frozenset()

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        channels, hidden = self.channels, self.hidden
        shapes: dict[str, Shape] = {
            "depthwise.weight": (channels, 1, self.kernel, self.kernel),
            "depthwise.bias": (channels,),
            **norm_shapes("norm", "layer", channels),
            "expand.weight": (hidden, channels),
            "expand.bias": (hidden,),
            "project.weight": (channels, hidden),
            "project.bias": (channels,),
        }
        if self.response:
            shapes |= {"response.weight": (hidden,), "response.bias": (hidden,)}
        return shapes | {"scale": (channels,)} if self.layer_scale else shapes

    def hands_on(self) -> Literal["other", "same", "padded"]:
        """See `LayerSpec`."""
        return "same"

    def parts(self) -> dict[str, Part]:
        channels, size, pixels = self.channels, self.size, self.size**2
        held = channels * pixels
        parts = {
            "depthwise": conv_part(
                channels, channels, self.kernel, size, size, groups=channels, bias=True, norm=False, held=held
            ),
            "norm": norm_part(channels, tokens=pixels, held=held),
            "expand": linear_part(channels, self.hidden, tokens=pixels, held=held),
        }
        if self.response:
            parts["response"] = norm_part(self.hidden, tokens=pixels, held=held)
        parts["project"] = linear_part(self.hidden, channels, tokens=pixels, held=held)
        return parts | {"scale": Part(0, channels, 0, 2 * held)} if self.layer_scale else parts


@dataclass(frozen=True)
class MapHeadSpec(LayerSpec):
    """Makes one vector of a map of channels, and perhaps classifies it.

    Attributes:
        classes: 0 for the vector itself.
        pool: `mean` or `max` over all pixels.
        norm: whether a layer norm follows.
    """

    kind: ClassVar[str] = "map_head"
    dropouts: ClassVar[frozenset[str]] = frozenset({"dropout"})
    fixed: ClassVar[frozenset[str]] = frozenset({"classes", "size", "norm", "eps"})
    free: ClassVar[frozenset[str]] = frozenset({"dropout"})

    channels: int
    classes: int
    size: int
    pool: str
    norm: bool
    eps: float
    dropout: float

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        shapes = norm_shapes("norm", "layer", self.channels) if self.norm else {}
        if self.classes:
            shapes |= {"classifier.weight": (self.classes, self.channels), "classifier.bias": (self.classes,)}
        return shapes

    def parts(self) -> dict[str, Part]:
        parts = {"norm": norm_part(self.channels)} if self.norm else {}
        return parts | {"classifier": linear_part(self.channels, self.classes)} if self.classes else parts


@dataclass(frozen=True)
class MixedHeadSpec(LayerSpec):
    """Averages a map of channels, mixes them by a linear layer with an activation, and perhaps classifies them
    (MobileNetV3).

    Attributes:
        mix: outputs of the linear layer.
        classes: 0 for these outputs themselves.
        activation: transformers' word for it.
    """

    kind: ClassVar[str] = "mixed_head"
    dropouts: ClassVar[frozenset[str]] = frozenset({"dropout"})
    fixed: ClassVar[frozenset[str]] = frozenset({"classes", "size"})
    free: ClassVar[frozenset[str]] = frozenset({"dropout"})

    channels: int
    mix: int
    classes: int
    size: int
    activation: str
    dropout: float

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        shapes: dict[str, Shape] = {"mix.weight": (self.mix, self.channels), "mix.bias": (self.mix,)}
        if self.classes:
            shapes |= {"classifier.weight": (self.classes, self.mix), "classifier.bias": (self.classes,)}
        return shapes

    def parts(self) -> dict[str, Part]:
        parts = {"mix": linear_part(self.channels, self.mix)}
        return parts | {"classifier": linear_part(self.mix, self.classes)} if self.classes else parts
