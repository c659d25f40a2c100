"""Networks of two towers by model type: facts and names. To add one is to add a row.

What transformers 5.24 computes for each configuration is computed here, and for BEiT-3 what its released code computes;
what is not computed is refused by the name of its key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from search_space.beit3_configs import RETRIEVAL, RETRIEVAL_TASK
from search_space.checkpoint import CheckpointError, ConfigReader, Layout, Place
from search_space.families import _beit3_names as beit3
from search_space.families._decoder_types import ACTIVATIONS
from search_space.families._identity import digest
from search_space.families._names import Shapes, Table, places, prefixed
from search_space.layers import (
    ImageTowerSpec,
    LayerForm,
    PairHeadSpec,
    TextTowerSpec,
    TowerHeadSpec,
    TransformerLayerSpec,
)
from search_space.layers.towers import ATTENTION, CLASS_TOKEN, END, LARGEST, LAST, NONE
from search_space.spellings import Spelling

IMAGE, TEXT = "image", "text"


@dataclass(frozen=True, slots=True)
class Tower:
    """One tower at full size.

    Attributes:
        layers: their number; all are alike.
    """

    first: ImageTowerSpec | TextTowerSpec
    layer: TransformerLayerSpec
    layers: int
    head: TowerHeadSpec


@dataclass(frozen=True, slots=True)
class Towers:
    """A network of two towers at full size."""

    kind: str
    image: Tower
    text: Tower
    pair: PairHeadSpec

    @property
    def each(self) -> dict[str, Tower]:
        """The towers by name, in their order."""
        return {IMAGE: self.image, TEXT: self.text}

    @property
    def identity(self) -> str:
        """Equal networks, equal ids."""
        return digest((self.image, self.text, self.pair))

    @property
    def max_length(self) -> int:
        """Positions that a text may have."""
        assert isinstance(self.text.first, TextTowerSpec)
        return self.text.first.positions

    @property
    def length(self) -> int:
        """Positions of a text for which costs are counted where nobody says so."""
        return min(self.max_length, TYPES[self.kind].length or self.max_length)


@dataclass(frozen=True, slots=True)
class TowerType:
    """What a model type is.

    Attributes:
        task: the class that is read.
        image_names, text_names: names of the tensors of `first`, `layer` (with `{i}` for its number from 0) and `head`.
        image, text: what is taken for a key that a configuration leaves out.
        projection: width of the vectors where the configuration does not say; 0: the images' hidden size.
        class_token, patch_bias, first_norm: see `ImageTowerSpec`.
        causal: whether a text's token sees only those before it.
        pools: pools of the images and of the texts.
        head_bias: whether a text's projection has a bias.
        sigmoid: whether logits have a bias, and the loss is that of each pair.
        inner_norms: see `LayerForm`.
        first_places: where the stored tensors of an embedding go.
        length: positions of a text for which costs are counted; 0: all that it may have.
        two_is_largest: whether an `eos_token_id` of 2 means the largest id.
    """

    task: str
    image_names: Mapping[str, Table]
    text_names: Mapping[str, Table]
    image: Mapping[str, Any]
    text: Mapping[str, Any]
    class_token: bool
    patch_bias: bool
    first_norm: bool
    causal: bool
    pools: tuple[str, str]
    head_bias: bool
    sigmoid: bool
    droppable: tuple[str, ...] = ("*.position_ids",)
    pair_names: Table = field(default_factory=dict)
    projection: int = 0
    inner_norms: bool = False
    first_places: Callable[[str, Shapes, Table], dict[str, Place]] = places
    length: int = 0
    two_is_largest: bool = False


# --- names on the disk -----------------------------------------------------------------------------------

_LAYER: Table = {
    "layer_norm1": ("attention_norm",),
    "self_attn.q_proj": ("query",),
    "self_attn.k_proj": ("key",),
    "self_attn.v_proj": ("value",),
    "self_attn.out_proj": ("output",),
    "layer_norm2": ("ffn_norm",),
    "mlp.fc1": ("ffn_in",),
    "mlp.fc2": ("ffn_out",),
}
_IMAGE_LAYER = prefixed("vision_model.encoder.layers.{i}.", _LAYER)
_TEXT_LAYER = prefixed("text_model.encoder.layers.{i}.", _LAYER)
_PATCHES: Table = {
    "vision_model.embeddings.patch_embedding": ("patches",),
    "vision_model.embeddings.position_embedding.weight": ("positions",),
}
_WORDS: Table = {
    "text_model.embeddings.token_embedding": ("tokens",),
    "text_model.embeddings.position_embedding": ("positions",),
}


# --- facts -----------------------------------------------------------------------------------------------

_CLIP = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_hidden_layers": 12}
_SIGLIP = {
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_size": 768,
    "intermediate_size": 3072,
}
_BEIT3 = {**_SIGLIP, "hidden_act": "gelu", "layer_norm_eps": 1e-5}
_IMAGES = {"num_channels": 3, "image_size": 224}
TYPES: dict[str, TowerType] = {
    "clip": TowerType(
        task="CLIPModel",
        image_names={
            "first": {
                **_PATCHES,
                "vision_model.embeddings.class_embedding": ("class_token",),
                "vision_model.pre_layrnorm": ("norm",),
            },
            "layer": _IMAGE_LAYER,
            "head": {"vision_model.post_layernorm": ("norm",), "visual_projection": ("projection",)},
        },
        text_names={
            "first": _WORDS,
            "layer": _TEXT_LAYER,
            "head": {"text_model.final_layer_norm": ("norm",), "text_projection": ("projection",)},
        },
        image={
            **_CLIP, **_IMAGES, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12,
            "patch_size": 32,
        },
        text={
            **_CLIP, "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "vocab_size": 49408,
            "max_position_embeddings": 77, "eos_token_id": 49407,
        },
        class_token=True,
        patch_bias=False,
        first_norm=True,
        causal=True,
        pools=(CLASS_TOKEN, END),
        head_bias=False,
        sigmoid=False,
        pair_names={"logit_scale": ("scale",)},
        projection=512,
        two_is_largest=True,
    ),
    "siglip": TowerType(
        task="SiglipModel",
        image_names={
            "first": _PATCHES,
            "layer": _IMAGE_LAYER,
            "head": {
                "vision_model.post_layernorm": ("norm",),
                "vision_model.head.probe": ("probe",),
                "vision_model.head.attention.in_proj_weight": ("query.weight", "key.weight", "value.weight"),
                "vision_model.head.attention.in_proj_bias": ("query.bias", "key.bias", "value.bias"),
                "vision_model.head.attention.out_proj": ("output",),
                "vision_model.head.layernorm": ("pooled_norm",),
                "vision_model.head.mlp.fc1": ("ffn_in",),
                "vision_model.head.mlp.fc2": ("ffn_out",),
            },
        },
        text_names={
            "first": _WORDS,
            "layer": _TEXT_LAYER,
            "head": {"text_model.final_layer_norm": ("norm",), "text_model.head": ("projection",)},
        },
        image={**_SIGLIP, **_IMAGES, "patch_size": 16},
        text={**_SIGLIP, "vocab_size": 32000, "max_position_embeddings": 64},
        class_token=False,
        patch_bias=True,
        first_norm=False,
        causal=False,
        pools=(ATTENTION, LAST),
        head_bias=True,
        sigmoid=True,
        pair_names={"logit_scale": ("scale",), "logit_bias": ("bias",)},
    ),
    # Of BEiT-3's encoder, image and text each by itself: no layer of one half sees the other.
    RETRIEVAL: TowerType(
        task=RETRIEVAL_TASK,
        image_names={
            "first": beit3.PATCHES,
            "layer": beit3.layer_of("A"),
            "head": {"beit3.encoder.layer_norm.A": ("norm",), "vision_head": ("projection",)},
        },
        text_names={
            "first": beit3.WORDS,
            "layer": beit3.layer_of("B"),
            "head": {"beit3.encoder.layer_norm.B": ("norm",), "language_head": ("projection",)},
        },
        image={**_BEIT3, **_IMAGES, "patch_size": 16},
        # XLM-R's tokens: 2 ends a text.
        text={**_BEIT3, "vocab_size": 64010, "max_position_embeddings": 1022, "eos_token_id": 2},
        class_token=True,
        patch_bias=True,
        first_norm=False,
        causal=False,
        pools=(CLASS_TOKEN, CLASS_TOKEN),
        head_bias=False,
        sigmoid=False,
        droppable=beit3.DROPPABLE,
        pair_names={"logit_scale": ("scale",)},
        inner_norms=True,
        first_places=beit3.first_places,
        length=64,
    ),
}  # fmt: skip

# Keys of a tower's configuration that change nothing here: where it begins to train, and what only generation reads.
_IDLE = ("initializer_factor", "dropout", "bos_token_id", "pad_token_id", "architectures", "projection_dim")


# --- reading ---------------------------------------------------------------------------------------------


class _Reader:
    """Reads a configuration with the words of its type."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.whole = ConfigReader(config, tuple(TYPES))
        self.kind = self.whole.model_type
        self.type = TYPES[self.kind]
        self.whole.task((self.type.task,))
        self.whole.read.update(("text_config", "vision_config", "text_config_dict", "vision_config_dict", *_IDLE))
        self.image = self._part("vision_config", self.type.image)
        self.text = self._part("text_config", self.type.text)

    def _part(self, key: str, defaults: Mapping[str, Any]) -> ConfigReader:
        """One tower's configuration. The first CLIPs have it twice; what ends in `_dict` counts, with its defaults."""
        given, older = self.whole.config.get(key) or {}, self.whole.config.get(f"{key}_dict")
        for said in (given, older):
            if said is not None and not isinstance(said, Mapping):
                raise CheckpointError(f"config.json must give {key!r} as a mapping; got {type(said).__name__}.")
        found = {**defaults, **{name: value for name, value in given.items() if value is not None}}
        if older:
            found |= {**defaults, **{name: value for name, value in older.items() if value is not None}}
        reader = ConfigReader({**found, "model_type": self.kind}, (self.kind,))
        reader.read.update(_IDLE)
        return reader

    def layer(self, reader: ConfigReader, *, causal: bool, tokens: int) -> TransformerLayerSpec:
        """A layer of a tower at full size."""
        embed, heads = reader.whole("hidden_size"), reader.whole("num_attention_heads")
        if embed % heads:
            raise CheckpointError(f"config.json has a hidden size of {embed} for {heads} heads: not a multiple.")
        form = LayerForm(
            causal=causal,
            norm="layer",
            eps=reader.ratio("layer_norm_eps", 1e-5),
            qkv_bias=True,
            key_bias=True,
            output_bias=True,
            ffn_bias=True,
            gated=False,
            activation=reader.one_of("hidden_act", {name: name for name in ACTIVATIONS}, "gelu"),
            scale=(embed // heads) ** -0.5,
            inner_norms=self.type.inner_norms,
        )
        ffn, dropout = reader.whole("intermediate_size"), reader.ratio("attention_dropout", 0.0, 1)
        return TransformerLayerSpec(
            form.written(), embed, heads, heads, embed // heads, ffn, tokens, attention_dropout=dropout
        )

    def head(self, layer: TransformerLayerSpec, width: int, tokens: int, pool: str) -> TowerHeadSpec:
        """A tower's end."""
        attends, projects = pool == ATTENTION, pool != ATTENTION
        return TowerHeadSpec(
            layer.embed,
            width,
            tokens,
            pool,
            projects,
            self.type.head_bias and projects,
            layer.heads if attends else 0,
            layer.ffn if attends else 0,
            layer.facts.activation if attends else "",
            layer.facts.eps,
        )

    def side(self, key: str) -> int:
        """Pixels of a square's side."""
        given = self.image.value(key)
        sides = set(map(str, given)) if isinstance(given, list | tuple) else {str(given)}
        if len(sides) != 1 or not (side := sides.pop()).isdigit() or int(side) < 1:
            raise CheckpointError(f"config.json must give {key!r} as the side of a square in pixels; got {given!r}.")
        return int(side)

    def width(self) -> int:
        """Width of the vectors that are compared.

        Raises:
            CheckpointError: the towers have vectors of different widths.
        """
        if not self.type.sigmoid:
            return self.whole.whole("projection_dim", self.type.projection or self.image.whole("hidden_size"))
        image = self.image.whole("hidden_size")
        text = self.text.whole("projection_size", self.text.whole("hidden_size"))
        if image != text:
            raise CheckpointError(
                f"config.json gives images vectors of {image} numbers and texts of {text}: they cannot be compared. "
                "text_config.projection_size must be vision_config.hidden_size."
            )
        return image

    def network(self) -> Towers:
        """The whole network."""
        t, width = self.type, self.width()
        size, patch = self.side("image_size"), self.side("patch_size")
        if size < patch:
            raise CheckpointError(f"config.json has an image size of {size} for patches of {patch} pixels.")
        self.image.only("vision_use_head", (True, 1), "images would have no vector of their own")
        eps = self.image.ratio("layer_norm_eps", 1e-5)
        channels, embed = self.image.whole("num_channels"), self.image.whole("hidden_size")
        patches = ImageTowerSpec(channels, embed, patch, size, t.class_token, t.patch_bias, t.first_norm, eps)
        layer = self.layer(self.image, causal=False, tokens=patches.tokens)
        image = Tower(
            patches,
            layer,
            self.image.whole("num_hidden_layers"),
            self.head(layer, width, patches.tokens, t.pools[0]),
        )
        positions = self.text.whole("max_position_embeddings")
        words = TextTowerSpec(
            self.text.whole("vocab_size"), self.text.whole("hidden_size"), positions, self._end(), positions
        )
        layer = self.layer(self.text, causal=t.causal, tokens=positions)
        text = Tower(words, layer, self.text.whole("num_hidden_layers"), self.head(layer, width, positions, t.pools[1]))
        self.whole.read.add("logit_scale_init_value")
        for reader in (self.whole, self.image, self.text):
            reader.refuse_unread()
        return Towers(self.kind, image, text, PairHeadSpec(width, t.sigmoid))

    def _end(self) -> int:
        """The token at whose place a text's vector is."""
        if self.type.pools[1] == LAST:
            self.text.read.add("eos_token_id")
            return NONE
        end = self.text.value("eos_token_id")
        vocab = self.text.whole("vocab_size")
        # transformers reads a 2 as what the first CLIPs meant by it.
        if end == 2 and self.type.two_is_largest:
            return LARGEST
        if not isinstance(end, int) or isinstance(end, bool) or not 0 <= end < vocab:
            raise CheckpointError(
                f"config.json must give the text's eos_token_id as one of its {vocab} ids; got {end!r}."
            )
        return end


def read(config: Mapping[str, Any]) -> Towers:
    """The network that a config.json of one of these types describes.

    Raises:
        CheckpointError: another type or task, a number that is missing or impossible, or what is not computed here.
    """
    return _Reader(config).network()


def layout(network: Towers) -> Layout:
    """Which tensor of a checkpoint goes where."""
    t = TYPES[network.kind]
    found: dict[str, Place] = {}
    for tower, names in ((IMAGE, t.image_names), (TEXT, t.text_names)):
        one = network.each[tower]
        found |= t.first_places(f"{tower}_embedding", one.first.shapes, names["first"])
        for i in range(one.layers):
            table = {disk.replace("{i}", str(i)): own for disk, own in names["layer"].items()}
            found |= places(f"{tower}_layer{i + 1}", one.layer.shapes, table)
        found |= places(f"{tower}_head", one.head.shapes, names["head"])
    scalar = (1,) if t.sigmoid else ()
    found |= {disk: Place("pair", own, scalar) for disk, (own,) in t.pair_names.items()}
    return Layout(found, t.droppable, Spelling())


def config_of(network: Towers) -> dict[str, Any]:
    """The config.json under which transformers builds the network, a CLIP or a SigLIP."""
    t, image, text = TYPES[network.kind], network.image, network.text
    patches, words = image.first, text.first
    assert isinstance(patches, ImageTowerSpec)
    assert isinstance(words, TextTowerSpec)

    def sizes(tower: Tower) -> dict[str, Any]:
        layer = tower.layer
        return {
            "hidden_size": layer.embed,
            "intermediate_size": layer.ffn,
            "num_hidden_layers": tower.layers,
            "num_attention_heads": layer.heads,
            "hidden_act": layer.facts.activation,
            "layer_norm_eps": layer.facts.eps,
            "attention_dropout": layer.attention_dropout,
        }

    stem = "siglip" if t.sigmoid else "clip"
    vision = {"model_type": f"{stem}_vision_model", **sizes(image), "num_channels": patches.channels}
    vision |= {"image_size": patches.size, "patch_size": patches.patch}
    words_of = {"model_type": f"{stem}_text_model", **sizes(text), "vocab_size": words.vocab}
    words_of |= {"max_position_embeddings": words.positions}
    whole: dict[str, Any] = {"model_type": network.kind, "architectures": [t.task]}
    if t.sigmoid:
        words_of["projection_size"] = network.pair.width
    else:
        words_of |= {"eos_token_id": 2 if words.end == LARGEST else words.end, "projection_dim": network.pair.width}
        vision["projection_dim"] = network.pair.width
        whole["projection_dim"] = network.pair.width
    return {**whole, "vision_config": vision, "text_config": words_of}
