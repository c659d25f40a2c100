"""Convolutional networks by model type: facts and names, and the space of those that are parts of a checkpoint's.

ConvNeXt and its second version, MobileNetV2, EfficientNet and ResNet, as transformers 5.24 computes them, and the
published networks of blocks as torchvision and timm do. Elastic are the blocks of each stage (the first ones are kept)
and the channels inside of each block. What blocks hand on is fixed, unless a job asks for `stage2_width` and the like:
one choice for all that shortcuts tie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from search_space.adjustments import Adjustments, Options, whole
from search_space.checkpoint import IMAGE_SIDE, CheckpointError, ConfigReader, Layout, Place, shares
from search_space.families._decoder_types import ACTIVATIONS
from search_space.families._identity import digest
from search_space.families._mobilenet_names import TimmNames, TorchvisionNames
from search_space.families._mobilenet_tables import PUBLISHED, squeezed
from search_space.families._names import Shapes, Table, places, prefixed
from search_space.families._network import Fresh, shapes_of
from search_space.families._written import confirm, of_checkpoint
from search_space.inputs import ImageInput
from search_space.layers import (
    BasicSpec,
    BottleneckSpec,
    ClassifierSpec,
    ConvNextLayerSpec,
    ConvSpec,
    InvertedResidualSpec,
    LayerSpec,
    MapHeadSpec,
    MaxPoolSpec,
    MixedHeadSpec,
    PaddedConvSpec,
    PatchConvSpec,
)
from search_space.layers.convolutions import batch_norm_shapes
from search_space.space import Choice, SearchSpace, Values
from search_space.spellings import Spelling
from search_space.timm_configs import TENSOR_NAMES


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot of a network.

    Attributes:
        spec: at full size.
        names: module on the disk -> ours.
        stage, block: where it stands, from 1; 0: in no stage, always there.
        elastic: field with its hidden channels; empty: they are fixed.
    """

    name: str
    spec: LayerSpec
    names: Table
    stage: int = 0
    block: int = 0
    elastic: str = ""


@dataclass(frozen=True, slots=True)
class StagedNetwork:
    """A checkpoint's whole network and where its tensors are."""

    slots: tuple[Slot, ...]
    size: int
    channels: int
    base: str
    prefix: str
    fresh: Fresh

    def widths(self) -> dict[str, list[tuple[str, str]]]:
        """Channels that blocks hand on: name of the choice -> (slot, field) of everything that has them.

        Only of networks without a layer norm, which over fewer channels would be another one.
        """
        found: dict[str, list[tuple[str, str]]] = {}
        tied: list[tuple[str, str]] = []
        for slot in self.slots:
            if not isinstance(slot.spec, _WITHOUT_LAYER_NORM) or (
                isinstance(slot.spec, MapHeadSpec) and slot.spec.norm
            ):
                return {}
            fields = slot.spec.fields()
            tied.append((slot.name, "in_channels" if "in_channels" in fields else "channels"))
            if fields.get("expand") is False:
                tied.append((slot.name, "hidden"))
            if "out_channels" not in fields:
                continue
            if slot.spec.hands_on() != "same":
                tied = found[f"stage{slot.stage}_width" if slot.stage else f"{slot.name}_width"] = []
            tied.append((slot.name, "out_channels"))
        if isinstance(self.slots[-1].spec, MapHeadSpec) and not self.classes:
            found.popitem()  # they are the answer
        return found

    @property
    def classes(self) -> int:
        """Classes of its head."""
        return int(self.slots[-1].spec.fields()["classes"])

    def layout(self) -> Layout:
        """Which tensor of a checkpoint goes where."""
        found: dict[str, Place] = {}
        for slot in self.slots:
            for disk, own in slot.names.items():
                beside = own[0] == "classifier"
                optional, fresh = beside and own[0] in self.fresh.optional, beside and own[0] in self.fresh.fresh
                table = prefixed("" if beside else self.prefix, {disk: own})
                found |= places(slot.name, _shapes(slot.spec), table, optional=optional, fresh=fresh)
        return Layout(found, ("*num_batches_tracked",), Spelling(self.base.removesuffix(".")))


# --- the space -------------------------------------------------------------------------------------------


def checkpoint_space(
    family: str, types: Collection[str], config: Mapping[str, Any], preset: str | None, adjustments: Adjustments
) -> SearchSpace:
    """The search space of a checkpoint: its first blocks of each stage, with fewer channels inside.

    Args:
        types: model types that the family starts from.

    Raises:
        CheckpointError: not a checkpoint of this family.
        ValueError: options that are larger than the checkpoint, or a preset, whose stages are others.
    """
    if config.get("model_type") not in types:
        raise CheckpointError(
            f"The checkpoint's model_type is {config.get('model_type')!r}; family {family!r} supports "
            f"{', '.join(types)}."
        )
    if preset is not None:
        raise ValueError(f"Preset {preset!r} has stages of its own and cannot start from a checkpoint; leave it out.")
    return staged_space(family, None, read(config, adjustments.classes), adjustments)


def staged_space(
    family: str, preset: str | None, network: StagedNetwork, adjustments: Adjustments, pretrained: bool = True
) -> SearchSpace:
    """The space of a network: its first blocks of each stage, with fewer channels inside.

    Raises:
        ValueError: options that are larger than the network.
    """
    key = digest((network.slots, network.size)) if pretrained else ""
    name = f"{family}/{preset or 'checkpoint'}" + (f"-{key}" if key else "")
    if not pretrained and adjustments.classes is not None:
        name += f"/{adjustments.classes}-classes"
    if adjustments.length is not None:
        raise ValueError(f"Space {name!r} takes images, not tokens; leave the sequence length out.")
    options = Options(name, adjustments)
    choices = list(_choices(network, options, pretrained))
    widths = network.widths() if pretrained else {}
    specs = {slot.name: slot.spec for slot in network.slots}
    for choice, tied in widths.items():
        whole_width = int(specs[tied[0][0]].fields()[tied[0][1]])
        asked = options.if_asked(choice, (whole_width,), whole(1, whole_width))
        choices += [] if asked is None else [Choice(choice, asked)]
    options.finish()
    fields = {place: choice for choice, tied in widths.items() for place in tied}

    return SearchSpace(
        name,
        choices,
        lambda values: dict(_chosen(network, fields, values)),
        (lambda: dict(specs)) if pretrained else None,
        ImageInput(network.channels, network.size, network.classes),
    )


def _choices(network: StagedNetwork, options: Options, pretrained: bool) -> Iterator[Choice]:
    depths: dict[int, tuple[Any, ...]] = {}
    for slot in network.slots:
        if slot.stage and slot.stage not in depths:
            count = sum(other.stage == slot.stage for other in network.slots)
            name = f"stage{slot.stage}_depth"
            depths[slot.stage] = options.of(name, shares(count, (2, 3), 1), whole(1, count))
            yield Choice(name, depths[slot.stage])
        known = depths.get(slot.stage, (0,))  # those in no stage are always there
        if slot.elastic and slot.block <= known[-1]:
            deep_enough = tuple(depth for depth in known if depth >= slot.block)
            when = None if deep_enough == known else (f"stage{slot.stage}_depth", deep_enough)
            hidden = int(slot.spec.fields()[slot.elastic])
            name = f"{slot.name}_hidden"
            yield Choice(
                name, options.of(name, shares(hidden, (2, 3), 8), whole(1, hidden if pretrained else None)), when
            )


def _chosen(
    network: StagedNetwork, fields: Mapping[tuple[str, str], str], values: Values
) -> Iterator[tuple[str, LayerSpec]]:
    """Slots of a network of the space.

    Args:
        fields: (slot, field) -> choice that says it, where the space has it.
    """
    widths: dict[str, dict[str, Any]] = {}
    for (slot_name, field), choice in fields.items():
        if choice in values:
            widths.setdefault(slot_name, {})[field] = int(values[choice])
    for slot in network.slots:
        if slot.stage and slot.block > int(values[f"stage{slot.stage}_depth"]):
            continue
        wanted = widths.get(slot.name, {})
        if slot.elastic:
            wanted = {**wanted, slot.elastic: int(values[f"{slot.name}_hidden"])}
        yield slot.name, replace(slot.spec, **wanted) if wanted else slot.spec


# --- reading ---------------------------------------------------------------------------------------------


class _Reader(ConfigReader):
    """Reads what all of these have."""

    def __init__(self, config: Mapping[str, Any], stem: str, classes: int | None, side: int) -> None:
        super().__init__(config, tuple(TYPES))
        self.task_name = self.task((f"{stem}ForImageClassification", f"{stem}Model"))
        self.bare = self.task_name.endswith("Model")
        own = 0 if self.bare else self.own_classes(classes)
        self.own_head = not self.bare and classes is None
        self.classes = own if classes is None else classes
        given = self.value("image_size", side)
        self.size = self.whole(IMAGE_SIDE, given if isinstance(given, int) else None)
        self.channels = self.whole("num_channels", 3)
        usual = _ACTS.get(self.model_type, "relu")
        self.activation = self.one_of("hidden_act", {name: name for name in ACTIVATIONS}, usual)

    def wholes(self, key: str, default: tuple[int, ...], count: int | None = None, least: int = 1) -> tuple[int, ...]:
        """A list of whole numbers."""
        given = self.value(key, list(default))
        right = isinstance(given, list | tuple) and all(
            isinstance(n, int) and not isinstance(n, bool) and n >= least for n in given
        )
        if not right or (count is not None and len(given) != count):
            size = "" if count is None else f"{count} "
            raise CheckpointError(
                f"config.json must give {key!r} as {size}whole numbers of at least {least}; got {given!r}."
            )
        return tuple(given)

    def network(self, slots: list[Slot], base: str) -> StagedNetwork:
        """The whole network; what nobody has read and what changes it is refused."""
        self.read.update(("drop_path_rate", "out_features", "out_indices", "_out_features", "_out_indices"))
        self.refuse_unread()
        classifier = frozenset({"classifier"})
        fresh = Fresh()
        if not self.own_head:
            other = not self.bare and not self.classifies()
            fresh = Fresh(optional=classifier, fresh=classifier if other else frozenset())
        return StagedNetwork(tuple(slots), self.size, self.channels, base, "" if self.bare else base, fresh)


_ACTS = {"resnet": "relu", "convnext": "gelu", "convnextv2": "gelu", "mobilenet_v2": "relu6", "efficientnet": "swish"}
_CLASSIFIER: Table = {"classifier": ("classifier",)}


def _convnext(config: Mapping[str, Any], classes: int | None) -> StagedNetwork:
    second = config.get("model_type") == "convnextv2"
    reader = _Reader(config, "ConvNextV2" if second else "ConvNext", classes, 224)
    stages = reader.whole("num_stages", 4)
    widths = reader.wholes("hidden_sizes", (96, 192, 384, 768), stages)
    depths = reader.wholes("depths", (3, 3, 9, 3), stages)
    patch = reader.whole("patch_size", 4)
    scaled = not second and reader.ratio("layer_scale_init_value", 1e-6) > 0
    reader.read.update(("layer_scale_init_value",))
    stem = PatchConvSpec(reader.channels, widths[0], patch, reader.size, norm_first=False, eps=1e-6)
    slots = [Slot("stem", stem, {"embeddings.patch_embeddings": ("conv",), "embeddings.layernorm": ("norm",)})]
    size, before = stem.out_size, widths[0]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), 1):
        disk = f"encoder.stages.{stage - 1}"
        if stage > 1:
            down = PatchConvSpec(before, width, 2, size, norm_first=True, eps=1e-6)
            names: Table = {f"{disk}.downsampling_layer.0": ("norm",), f"{disk}.downsampling_layer.1": ("conv",)}
            slots.append(Slot(f"stage{stage}_down", down, names))
            size, before = down.out_size, width
        if size < 1:
            raise CheckpointError(f"config.json has images of {reader.size} pixels, too small for {stages} stages.")
        spec = ConvNextLayerSpec(width, 4 * width, 7, size, reader.activation, 1e-6, scaled, second)
        for block in range(1, depth + 1):
            layer = f"{disk}.layers.{block - 1}"
            names = {
                f"{layer}.dwconv": ("depthwise",),
                f"{layer}.layernorm": ("norm",),
                f"{layer}.pwconv1": ("expand",),
                f"{layer}.grn": ("response",),
                f"{layer}.pwconv2": ("project",),
                f"{layer}.layer_scale_parameter": ("scale",),
            }
            slots.append(Slot(f"stage{stage}_block{block}", spec, names, stage, block, elastic="hidden"))
    eps = reader.ratio("layer_norm_eps", 1e-12)
    head = MapHeadSpec(before, reader.classes, size, "mean", norm=True, eps=eps, dropout=0.0)
    slots.append(Slot("head", head, {"layernorm": ("norm",), **_CLASSIFIER}))
    return reader.network(slots, "convnextv2." if second else "convnext.")


def _divisible(value: float, divisor: int, least: int) -> int:
    """As TensorFlow's networks round channels: never more than a tenth down."""
    rounded = max(least, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Zeros before and behind, as TensorFlow pads."""
    total = max(kernel - (stride if size % stride == 0 else size % stride), 0)
    return total // 2 * dilation, (total - total // 2) * dilation


def _convolution(disk: str, own: str, norm: str) -> Table:
    return {f"{disk}.convolution": (own,), f"{disk}.normalization": (norm,)}


def _mobilenet_v2(config: Mapping[str, Any], classes: int | None) -> StagedNetwork:
    reader = _Reader(config, "MobileNetV2", classes, 224)
    multiplier = reader.ratio("depth_multiplier", 1.0)
    divisor, least = reader.whole("depth_divisible_by", 8), reader.whole("min_depth", 8)
    ratio, eps = reader.ratio("expand_ratio", 6.0), reader.ratio("layer_norm_eps", 0.001)
    tf, act = reader.switch("tf_padding", True), reader.activation

    def scaled(channels: int) -> int:
        return _divisible(round(channels * multiplier), divisor, least)

    def around(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
        return _same(size, kernel, stride, dilation) if tf else (kernel // 2 * dilation,) * 2

    widths = [scaled(n) for n in (16, *(24,) * 2, *(32,) * 3, *(64,) * 4, *(96,) * 3, *(160,) * 3, 320)]
    strides = (2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
    stem = PaddedConvSpec(reader.channels, scaled(32), 3, 2, *around(reader.size, 3, 2), reader.size, act, eps)
    slots = [Slot("stem", stem, _convolution("conv_stem.first_conv", "conv", "norm"))]
    size, expands = stem.out_size, not reader.switch("first_layer_is_expansion", True)
    first = InvertedResidualSpec(
        scaled(32), scaled(32), widths[0], 3, 1, *around(size, 3, 1), 1, size, act, expands, 0, eps, shortcut=False
    )
    slots.append(Slot("first", first, _inverted_names("conv_stem")))
    reached, dilation, stage, block = 2, 1, 0, 0
    for i, stride in enumerate(strides):
        own_dilation = 1
        if reached == reader.whole("output_stride", 32):
            stride, own_dilation, dilation = 1, dilation, dilation * stride
        else:
            reached *= stride
        shortcut = stride == 1 and widths[i] == widths[i + 1]
        stage, block = (stage, block + 1) if shortcut and stage else (stage + 1, 1)
        hidden = _divisible(round(widths[i] * ratio), divisor, least)
        spec = InvertedResidualSpec(
            widths[i], hidden, widths[i + 1], 3, stride, *around(size, 3, stride, own_dilation), own_dilation, size,
            act, True, 0, eps, shortcut,
        )  # fmt: skip
        slots.append(
            Slot(f"stage{stage}_block{block}", spec, _inverted_names(f"layer.{i}"), stage, block, elastic="hidden")
        )
        size = spec.out_size
    last = 1280 if reader.switch("finegrained_output", True) and multiplier < 1 else scaled(1280)
    top = PaddedConvSpec(widths[-1], last, 1, 1, 0, 0, size, act, eps)
    slots.append(Slot("top", top, _convolution("conv_1x1", "conv", "norm")))
    dropout = reader.ratio("classifier_dropout_prob", 0.8, 1)
    head = MapHeadSpec(last, reader.classes, size, "mean", norm=False, eps=0.0, dropout=dropout)
    slots.append(Slot("head", head, _CLASSIFIER))
    return reader.network(slots, "mobilenet_v2.")


def _inverted_names(disk: str) -> Table:
    return {
        **_convolution(f"{disk}.expand_1x1", "expand", "expand_norm"),
        **_convolution(f"{disk}.conv_3x3", "depthwise", "depthwise_norm"),
        **_convolution(f"{disk}.reduce_1x1", "project", "project_norm"),
    }


def _efficientnet(config: Mapping[str, Any], classes: int | None) -> StagedNetwork:
    reader = _Reader(config, "EfficientNet", classes, 600)
    wide, deep = reader.ratio("width_coefficient", 2.0), reader.ratio("depth_coefficient", 3.1)
    divisor, eps, act = reader.whole("depth_divisor", 8), reader.ratio("batch_norm_eps", 0.001), reader.activation

    def scaled(channels: int) -> int:
        return _divisible(channels * wide, divisor, divisor)

    ins = reader.wholes("in_channels", (32, 16, 24, 40, 80, 112, 192))
    outs = reader.wholes("out_channels", (16, 24, 40, 80, 112, 192, 320), len(ins))
    kernels = reader.wholes("kernel_sizes", (3, 3, 5, 3, 5, 5, 3), len(ins))
    strides = reader.wholes("strides", (1, 2, 2, 2, 1, 2, 1), len(ins))
    repeats = reader.wholes("num_block_repeats", (1, 2, 2, 3, 3, 4, 1), len(ins))
    ratios = reader.wholes("expand_ratios", (1, 6, 6, 6, 6, 6, 6), len(ins))
    unadjusted = reader.wholes("depthwise_padding", (), least=0)
    squeeze = reader.ratio("squeeze_expansion_ratio", 0.25)
    stem = PaddedConvSpec(reader.channels, scaled(32), 3, 2, 0, 1, reader.size, act, eps)
    names: Table = {"embeddings.convolution": ("conv",), "embeddings.batchnorm": ("norm",)}
    slots, size, number = [Slot("stem", stem, names)], stem.out_size, 0
    for stage, (in_channels, out, kernel, first_stride, repeat, ratio) in enumerate(
        zip(ins, outs, kernels, strides, repeats, ratios, strict=True), 1
    ):
        before, width = scaled(in_channels), scaled(out)
        for block in range(1, math.ceil(deep * repeat) + 1):
            stride = first_stride if block == 1 else 1
            half, adjusts = kernel // 2, number not in unadjusted
            around = (half - 1, half) if stride == 2 and adjusts else (half, half)
            spec = InvertedResidualSpec(
                before, before * ratio, width, kernel, stride, *around, 1, size, act, ratio != 1,
                max(1, int(before * squeeze)), eps, shortcut=block > 1 and stride == 1,
            )  # fmt: skip
            names = _efficientnet_names(f"encoder.blocks.{number}")
            slots.append(
                Slot(f"stage{stage}_block{block}", spec, names, stage, block, elastic="hidden" if ratio != 1 else "")
            )
            size, before, number = spec.out_size, width, number + 1
    hidden = reader.whole("hidden_dim", 2560)
    if scaled(1280) != hidden:
        raise CheckpointError(f"config.json has a hidden_dim of {hidden}; its width coefficient makes {scaled(1280)}.")
    top = PaddedConvSpec(before, hidden, 1, 1, 0, 0, size, act, eps)
    slots.append(Slot("top", top, {"encoder.top_conv": ("conv",), "encoder.top_bn": ("norm",)}))
    pool = reader.one_of("pooling_type", {"mean": "mean", "max": "max"}, "mean")
    dropout = reader.ratio("dropout_rate", 0.5, 1)
    slots.append(Slot("head", MapHeadSpec(hidden, reader.classes, size, pool, False, 0.0, dropout), _CLASSIFIER))
    reader.read.update(("batch_norm_momentum", "drop_connect_rate"))
    return reader.network(slots, "efficientnet.")


def _efficientnet_names(disk: str) -> Table:
    return {
        f"{disk}.expansion.expand_conv": ("expand",),
        f"{disk}.expansion.expand_bn": ("expand_norm",),
        f"{disk}.depthwise_conv.depthwise_conv": ("depthwise",),
        f"{disk}.depthwise_conv.depthwise_norm": ("depthwise_norm",),
        f"{disk}.squeeze_excite.reduce": ("squeeze",),
        f"{disk}.squeeze_excite.expand": ("excite",),
        f"{disk}.projection.project_conv": ("project",),
        f"{disk}.projection.project_bn": ("project_norm",),
    }


# Its inner convolutions have a ReLU whatever the file says, so that another word would mix two.
_CLASSES = {"relu": "ReLU"}


def _resnet(config: Mapping[str, Any], classes: int | None) -> StagedNetwork:
    reader = _Reader(config, "ResNet", classes, 224)
    if not reader.classes:
        raise CheckpointError("The checkpoint has no classifier; say how many `classes` a new one should have.")
    act = reader.one_of("hidden_act", _CLASSES, "relu")
    widths = reader.wholes("hidden_sizes", (256, 512, 1024, 2048))
    depths = reader.wholes("depths", (3, 4, 6, 3), len(widths))
    deep = reader.one_of("layer_type", {"bottleneck": "bottleneck", "basic": "basic"}, "bottleneck") == "bottleneck"
    reader.only("downsample_in_bottleneck", (False,), "the first convolution of a block would have its stride")
    channels = reader.whole("embedding_size", 64)
    stem = ConvSpec(reader.channels, channels, 7, 2, reader.size, act)
    pool = MaxPoolSpec(channels, 3, 2, stem.out_size)
    others = reader.value(TENSOR_NAMES) is not None  # timm and torchvision have the same ones
    stem_names: Table = {"conv1": ("conv",), "bn1": ("norm",)}
    if not others:
        stem_names = _convolution("embedder.embedder", "conv", "norm")
    slots = [Slot("stem", stem, stem_names), Slot("pool", pool, {})]
    size = pool.out_size
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), 1):
        for block in range(1, depth + 1):
            halves = block == 1 and (stage > 1 or reader.switch("downsample_in_first_stage", False))
            spec = (BottleneckSpec if deep else BasicSpec)(
                in_channels=channels,
                hidden_channels=width // 4 if deep else width,
                out_channels=width,
                stride=2 if halves else 1,
                size=size,
                activation=act,
                shortcut="conv",
                project_shortcut=halves or channels != width,
            )
            names = (_torch_residual_names if others else _residual_names)(stage, block, 3 if deep else 2)
            slots.append(Slot(f"stage{stage}_block{block}", spec, names, stage, block, elastic="hidden_channels"))
            channels, size = width, spec.out_size
    head = ClassifierSpec(channels, reader.classes, size)
    slots.append(Slot("classifier", head, {"fc" if others else "classifier.1": ("classifier",)}))
    return reader.network(slots, "" if others else "resnet.")


def _residual_names(stage: int, block: int, convolutions: int) -> Table:
    disk = f"encoder.stages.{stage - 1}.layers.{block - 1}"
    names = dict(_convolution(f"{disk}.shortcut", "projection", "projection_norm"))
    for i in range(convolutions):
        names |= _convolution(f"{disk}.layer.{i}", f"conv{i + 1}", f"norm{i + 1}")
    return names


def _torch_residual_names(stage: int, block: int, convolutions: int) -> Table:
    disk = f"layer{stage}.{block - 1}"
    names: dict[str, tuple[str, ...]] = {
        f"{disk}.downsample.0": ("projection",),
        f"{disk}.downsample.1": ("projection_norm",),
    }
    for i in range(1, convolutions + 1):
        names |= {f"{disk}.conv{i}": (f"conv{i}",), f"{disk}.bn{i}": (f"norm{i}",)}
    return names


# Of training: torchvision's of all but its largest networks.
_TABLE_DROPOUT = 0.2
# What the tables call activations, in transformers' words.
_TABLE_ACTS = {"ReLU": "relu", "ReLU6": "relu6", "SiLU": "silu", "Hardswish": "hardswish"}


def _mobilenet(config: Mapping[str, Any], classes: int | None) -> StagedNetwork:
    """A published network, with as many zeros on both sides of an image. A stage is a run of blocks of one width."""
    reader = _Reader(config, "MobileNet", classes, 224)
    called = str(reader.value("table"))
    table, torchvisions = PUBLISHED[called], reader.value(TENSOR_NAMES) == "torchvision"
    mixes, staged = table.head_expansion > 0, called.startswith("efficientnet")
    names = TorchvisionNames(mixes, staged) if torchvisions else TimmNames(mixes)
    eps = 1e-3 if torchvisions and (mixes or called == "efficientnet_b7") else 1e-5
    last_act = _TABLE_ACTS[table.activation]
    stem = PaddedConvSpec(reader.channels, table.stem[0], 3, 2, 1, 1, reader.size, last_act, eps)
    slots = [Slot("stem", stem, names.stem())]
    size, before, stage, block, number = stem.out_size, table.stem[0], 0, 0, 0
    for row in table.stages:
        width, kernel, act = row.widths[0], row.kernels[0], _TABLE_ACTS[row.activation or table.activation]
        squeeze = table.squeeze if row.squeeze else None
        for repeat in range(row.depths[0]):
            stride = row.stride if repeat == 0 else 1
            shortcut = stride == 1 and before == width
            # The first block of all may have the stem's width; it begins a stage all the same.
            stage, block = (stage, block + 1) if shortcut and stage else (stage + 1, 1)
            expand = row.expansions[0] > 1
            spec = InvertedResidualSpec(
                before, hidden := round(before * row.expansions[0]), width, kernel, stride, kernel // 2, kernel // 2, 1,
                size, act, expand, squeezed(squeeze, before, hidden), eps, shortcut,
            )  # fmt: skip
            if squeeze is not None and squeeze.of == "hidden":
                spec = replace(spec, squeeze_activation=_TABLE_ACTS[squeeze.activation], gate=squeeze.gate)
            number += 1
            disk = names.block(stage, block, number, expand, squeeze is not None)
            slots.append(
                Slot(f"stage{stage}_block{block}", spec, disk, stage, block, elastic="hidden" if expand else "")
            )
            size, before = spec.out_size, width
    width = before * table.head_expansion if mixes else table.head[0]
    slots.append(Slot("top", PaddedConvSpec(before, width, 1, 1, 0, 0, size, last_act, eps), names.top(stage, number)))
    head: LayerSpec = MapHeadSpec(width, reader.classes, size, "mean", False, 0.0, _TABLE_DROPOUT)
    if mixes:
        head = MixedHeadSpec(width, table.head[0], reader.classes, size, last_act, _TABLE_DROPOUT)
    slots.append(Slot("head", head, names.head(), elastic="mix" if mixes and reader.classes else ""))
    return reader.network(slots, "")


def _shapes(spec: LayerSpec) -> Shapes:
    """Parameters and statistics of a spec's block."""
    if isinstance(spec, MaxPoolSpec):
        return {}
    if isinstance(spec, ClassifierSpec):
        return {"classifier.weight": (spec.classes, spec.in_channels), "classifier.bias": (spec.classes,)}
    convs: dict[str, tuple[int, ...]] = {}
    if isinstance(spec, ConvSpec):
        convs = {"conv": (spec.out_channels, spec.in_channels, spec.kernel, spec.kernel)}
    elif isinstance(spec, BasicSpec | BottleneckSpec):
        before, inner, after = spec.in_channels, spec.hidden_channels, spec.out_channels
        convs = {"conv1": (inner, before, 3, 3), "conv2": (after, inner, 3, 3)}
        if isinstance(spec, BottleneckSpec):
            convs = {"conv1": (inner, before, 1, 1), "conv2": (inner, inner, 3, 3), "conv3": (after, inner, 1, 1)}
        if spec.project_shortcut:
            convs["projection"] = (after, before, 1, 1)
    if not convs:
        return shapes_of(spec)
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in convs.items():
        found[f"{name}.weight"] = shape
        norm = f"{name}_norm" if name == "projection" else name.replace("conv", "norm")
        found |= batch_norm_shapes(norm, shape[0])
    return found


# Specs that may have fewer of the channels that they take and give.
_WITHOUT_LAYER_NORM = (ConvSpec, PaddedConvSpec, InvertedResidualSpec, BasicSpec, BottleneckSpec, MaxPoolSpec)
_WITHOUT_LAYER_NORM += (ClassifierSpec, MapHeadSpec, MixedHeadSpec)

TYPES: dict[str, Callable[[Mapping[str, Any], int | None], StagedNetwork]] = {
    "convnext": _convnext,
    "convnextv2": _convnext,
    "mobilenet_v2": _mobilenet_v2,
    "efficientnet": _efficientnet,
    "resnet": _resnet,
    "mobilenet": _mobilenet,
}


def read(config: Mapping[str, Any], classes: int | None = None) -> StagedNetwork:
    """The network that a config.json of one of these types describes, with another number of classes if wanted.

    Raises:
        CheckpointError: another type or task, a number that is missing or impossible, or what is not computed here.
    """
    kind = str(config.get("model_type"))
    if kind not in TYPES:
        raise CheckpointError(f"The checkpoint's model_type is {kind!r}; this family supports {', '.join(TYPES)}.")
    return TYPES[kind](config, classes)


# --- writing ---------------------------------------------------------------------------------------------


def config_of(layers: Mapping[str, LayerSpec], checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a part of a network, with the blocks of each stage that it has.

    A MobileNetV2 always has all of its blocks: those that a network lacks add zero to their shortcut.

    Raises:
        CheckpointError: transformers has no such network, also not with zeros.
    """
    config = of_checkpoint(layers, checkpoint)
    if config.get("model_type") == "mobilenet":
        raise CheckpointError(
            f"transformers has no class of {config.get('architecture')} as torchvision and timm compute it; take onnx "
            "or torch_export"
        )
    # Not a key of transformers for all of them: how large the images are that the network was made for.
    config["image_size"] = next(iter(layers.values())).fields()["size"]
    kind, head = str(config.get("model_type")), layers["head"].fields()
    whole = read(config, int(head["classes"]) or None)
    kept: dict[int, list[int]] = {}
    blocks = [slot for slot in whole.slots if slot.stage]
    for number, slot in enumerate(blocks):
        if slot.name in layers:
            kept.setdefault(slot.stage, []).append(number)
    if kind == "efficientnet":
        moved = {old: new for new, old in enumerate(number for stage in kept.values() for number in stage)}
        unadjusted = [moved[old] for old in config.get("depthwise_padding") or () if old in moved]
        depths = [len(stage) for stage in kept.values()]
        config |= {"depth_coefficient": 1.0, "num_block_repeats": depths, "depthwise_padding": unadjusted}
        config.pop("num_hidden_layers", None)  # what transformers works out from the others
    elif kind != "mobilenet_v2":
        config["depths"] = [len(stage) for stage in kept.values()]
    if head["classes"]:
        stem = str((config.get("architectures") or [""])[0])
        stem = stem.removesuffix("ForImageClassification").removesuffix("Model")
        config |= {"architectures": [f"{stem}ForImageClassification"], "num_labels": head["classes"]}
    described = {slot.name: slot for slot in read(config).slots}
    confirm((name, described[name].spec, layer) for name, layer in layers.items())
    absent = [slot for name, slot in described.items() if name not in layers]
    if any(not getattr(slot.spec, "shortcut", False) for slot in absent):
        raise CheckpointError("it lacks a block that has no shortcut")
    return config
