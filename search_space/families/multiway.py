"""An image and a text in one sequence, and a class of both: BEiT-3's cross-modal attention, from weights of VQAv2.

Elastic are the number of layers (the first ones are kept) and, in each layer, the number of attention heads and the
width of each half's feed-forward network. Both halves have as many heads, because queries of one meet keys of the
other. A pair's class is read off its first token. So in the last layer of a network, whichever it is, the text gives
only keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from search_space.adjustments import Adjustments, Options, space_name, whole
from search_space.beit3_configs import VQA, VQA_TASK
from search_space.checkpoint import CheckpointError, ConfigReader, Layout, Place, shares
from search_space.families import _beit3_names as names
from search_space.families._identity import digest
from search_space.families._names import Table, places
from search_space.inputs import PairInput
from search_space.layers import (
    AnswerHeadSpec,
    ImageTowerSpec,
    JointSequenceSpec,
    LayerSpec,
    MultiwayLayerSpec,
    TextTowerSpec,
)
from search_space.layers.multiway import IMAGE, TEXT
from search_space.layers.towers import NONE
from search_space.space import Choice, SearchSpace, Values

MODEL_TYPES = (VQA,)
# Tokens of a text for which costs are counted, as in the training for VQAv2.
LENGTH = 64
EPS = 1e-5


@dataclass(frozen=True, slots=True)
class Multiway:
    """A network at full size; its last layer is as wide as the others where it is not the last.

    Attributes:
        layers: their number; all are alike.
    """

    patches: ImageTowerSpec
    words: TextTowerSpec
    layer: MultiwayLayerSpec
    layers: int
    head: AnswerHeadSpec

    def at(self, length: int) -> Multiway:
        """The same for texts of so many tokens."""
        words, layer = replace(self.words, tokens=length), replace(self.layer, text_tokens=length)
        return replace(self, words=words, layer=layer)

    def whole(self, layers: Mapping[str, LayerSpec]) -> dict[str, LayerSpec]:
        """All slots of a network with these layers."""
        tokens = self.layer.image_tokens + self.layer.text_tokens
        first = {
            "image_embedding": self.patches,
            "text_embedding": self.words,
            "sequence": JointSequenceSpec(self.layer.embed, tokens),
        }
        return {**first, **layers, "head": self.head}


@dataclass(frozen=True, slots=True)
class MultiwayPreset:
    """A full-size network as a configuration, and the options of its choices (None: shares of its sizes).

    Attributes:
        config: what `search_space.beit3_configs` makes of released weights.
        ffns: widths of both halves' feed-forward networks.
    """

    config: Mapping[str, Any]
    depths: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    ffns: tuple[int, ...] | None = None


PRESETS: dict[str, MultiwayPreset] = {
    # BEiT-3 for VQAv2 with InstaTune's options (arXiv 2308.15609), whose BEiT-3 classifies images.
    "beit3_base_patch16_480": MultiwayPreset(
        {"model_type": VQA, "num_labels": 3129},
        depths=(11, 12),
        heads=(6, 8, 10, 12),
        ffns=(2048, 2560, 3072),
    ),
    # 32x32 images in 65 positions and short texts of bytes, which no token ends: a laptop's CPU trains it.
    "tiny": MultiwayPreset(
        {
            "model_type": VQA,
            "num_labels": 10,
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_intermediate_size": 512,
            "text_intermediate_size": 512,
            "image_size": 32,
            "patch_size": 4,
            "vocab_size": 256,
            "max_position_embeddings": 64,
            "eos_token_id": None,
        },
        depths=(2, 3, 4),
        heads=(1, 2, 3, 4),
        ffns=(128, 256, 384, 512),
    ),
}


def space(preset: str, adjustments: Adjustments) -> SearchSpace:
    """The search space of a preset; its weights are as large as the largest options."""
    wanted = PRESETS[preset]
    network = read(wanted.config, adjustments.classes)
    return _space(space_name("multiway", preset, adjustments), wanted, network, adjustments, pretrained=False)


def checkpoint_space(config: Mapping[str, Any], preset: str | None, adjustments: Adjustments) -> SearchSpace:
    """The search space of a checkpoint: the preset's options, or shares of its own sizes.

    Raises:
        CheckpointError: not a checkpoint of this family.
        ValueError: options that are larger than the checkpoint.
    """
    network = read(config, adjustments.classes)
    wanted = PRESETS[preset] if preset else MultiwayPreset(config)
    return _space(f"multiway/{preset or 'checkpoint'}-{digest(network)}", wanted, network, adjustments, pretrained=True)


def _space(
    name: str, wanted: MultiwayPreset, network: Multiway, adjustments: Adjustments, *, pretrained: bool
) -> SearchSpace:
    most = network.words.positions
    length = adjustments.length or min(LENGTH, most)
    if length > most:
        raise ValueError(f"Got a length of {length} tokens; networks of {name!r} take at most {most}.")
    network = network.at(length)
    options = Options(name, adjustments)
    choices = list(_choices(wanted, network, options, pretrained=pretrained))
    options.finish()
    full = network.layer

    def layers(values: Values) -> dict[str, LayerSpec]:
        depth, found = int(values["depth"]), dict[str, LayerSpec]()
        for i in range(1, depth + 1):
            heads, image = int(values[f"layer{i}_heads"]), int(values[f"layer{i}_{IMAGE}_ffn"])
            text = int(values[f"layer{i}_{TEXT}_ffn"]) if i < depth else 0
            found[f"layer{i}"] = _layer(full, heads, image, text)
        return network.whole(found)

    def capacity() -> dict[str, LayerSpec]:
        every = {f"layer{i}": full for i in range(1, network.layers)}
        return network.whole({**every, f"layer{network.layers}": replace(full, text_ffn=0)})

    patches, words = network.patches, network.words
    takes = PairInput(
        patches.channels,
        patches.size,
        words.vocab,
        length,
        words.positions,
        end=None if words.end == NONE else words.end,
        classes=network.head.classes,
    )
    return SearchSpace(name, choices, layers, capacity if pretrained else None, takes)


@lru_cache(maxsize=65536)
def _layer(full: MultiwayLayerSpec, heads: int, image: int, text: int) -> MultiwayLayerSpec:
    # Equal layers are one object, whose totals are computed once.
    return replace(full, heads=heads, image_ffn=image, text_ffn=text)


def _choices(wanted: MultiwayPreset, network: Multiway, options: Options, *, pretrained: bool) -> Iterator[Choice]:
    """Depth, then heads and feed-forward widths of every layer that is there; the last has no width of the text."""
    layer, count = network.layer, network.layers
    default = wanted.depths or shares(count, (2, 3), 1)
    depths = options.of("depth", default, whole(1, count if pretrained else 1024))
    yield Choice("depth", depths)
    for i in range(1, int(depths[-1]) + 1):
        heads = wanted.heads or shares(layer.heads, (2, 3), 1), whole(1, layer.heads if pretrained else None)
        yield Choice(f"layer{i}_heads", options.of(f"layer{i}_heads", *heads), _deeper(depths, i))
        for half, full in ((IMAGE, layer.image_ffn), (TEXT, layer.text_ffn)):
            least = i if half == IMAGE else i + 1
            if least <= int(depths[-1]):
                ffns = wanted.ffns or shares(full, (1, 2, 3), 8), whole(1, full if pretrained else None)
                slot = f"layer{i}_{half}_ffn"
                yield Choice(slot, options.of(slot, *ffns), _deeper(depths, least))


def _deeper(depths: tuple[Any, ...], least: int) -> tuple[str, tuple[Any, ...]] | None:
    """When a network has at least so many layers; None: always."""
    enough = tuple(depth for depth in depths if int(depth) >= least)
    return None if enough == depths else ("depth", enough)


# --- checkpoints -----------------------------------------------------------------------------------------


def read(config: Mapping[str, Any], classes: int | None = None) -> Multiway:
    """The network that a configuration describes, with another number of classes if wanted.

    Raises:
        CheckpointError: another model type or task, or a number that is missing or impossible.
    """
    reader = ConfigReader(config, MODEL_TYPES)
    reader.task((VQA_TASK,))
    embed, heads = reader.whole("hidden_size", 768), reader.whole("num_attention_heads", 12)
    if embed % heads:
        raise CheckpointError(f"config.json has a hidden size of {embed} for {heads} heads: not a multiple.")
    size, patch = reader.whole("image_size", 480), reader.whole("patch_size", 16)
    if size < patch:
        raise CheckpointError(f"config.json has an image size of {size} for patches of {patch} pixels.")
    patches = ImageTowerSpec(reader.whole("num_channels", 3), embed, patch, size, True, True, False, EPS)
    # XLM-R's token 2 ends a text; null: none does.
    ended = config.get("eos_token_id", 2) is not None
    end = reader.whole("eos_token_id", 2) if ended else NONE
    words = TextTowerSpec(
        reader.whole("vocab_size", 64010), embed, reader.whole("max_position_embeddings", 1022), end, LENGTH
    )
    layer = MultiwayLayerSpec(
        embed,
        heads,
        embed // heads,
        reader.whole("image_intermediate_size", 3072),
        reader.whole("text_intermediate_size", 3072),
        patches.tokens,
        LENGTH,
        EPS,
    )
    head = AnswerHeadSpec(embed, classes or reader.own_classes(classes), EPS)
    return Multiway(patches, words, layer, reader.whole("num_hidden_layers", 12), head)


HEAD: Table = {"pooler.norm": ("norm",), "pooler.dense": ("pooler",), "head.0": ("wide",), "head.1": ("wide_norm",)}
CLASSIFIER: Table = {"head.3": ("classifier",)}
# Modules of the text that the last layer does not have.
IDLE = ("self_attn.q_proj", "self_attn.out_proj", "self_attn.inner_attn_ln", "final_layer_norm", "ffn")


def layout(config: Mapping[str, Any], classes: int | None = None) -> Layout:
    """Which tensor of a checkpoint goes where."""
    network = read(config, classes)
    found: dict[str, Place] = names.first_places("image_embedding", network.patches.shapes, names.PATCHES)
    found |= names.first_places("text_embedding", network.words.shapes, names.WORDS)
    for i in range(network.layers):
        spec = network.layer if i + 1 < network.layers else replace(network.layer, text_ffn=0)
        for half, letter in ((IMAGE, "A"), (TEXT, "B")):
            table = names.layer_of(letter)
            own = {
                disk.replace("{i}", str(i)): tuple(f"{half}_{name}" for name in ours) for disk, ours in table.items()
            }
            found |= places(f"layer{i + 1}", spec.shapes, own)
    found |= places("head", network.head.shapes, HEAD)
    found |= places("head", network.head.shapes, CLASSIFIER, optional=classes is not None)
    idle = (f"beit3.encoder.layers.{network.layers - 1}.{module}.B.*" for module in IDLE)
    return Layout(found, (*names.DROPPABLE, *idle))


# Presets that are too big for a test: nothing that may be adjusted makes their embeddings small.
NARROWED: dict[str, Adjustments | None] = {"beit3_base_patch16_480": None}
