"""BERT family: encoders of text, from a checkpoint's own configuration or a named preset: BERT and `_text_types`.

Elastic are the number of layers (the first ones are kept) and, in each layer, the number of attention heads
and the width of its feed-forward network. Costs are for one text of `length` tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from search_space.adjustments import Adjustments, Options, space_name, whole
from search_space.checkpoint import CheckpointError, ConfigReader, Layout, shares
from search_space.families import _text_types
from search_space.families._encoder import Encoder, config_of_layers, encoder_choices, encoder_layer
from search_space.families._identity import digest
from search_space.families._names import places, prefixed
from search_space.families._network import Wanted, network_space
from search_space.inputs import TokenInput
from search_space.layers import LayerSpec, TextEmbeddingSpec, TextHeadSpec, WordEmbeddingSpec
from search_space.sentences import POOLING
from search_space.space import Choice, SearchSpace, Values
from search_space.spellings import Spelling

MODEL_TYPES = ("bert", *(name for name in _text_types.TYPES if name != "bert"))
# The last two are loaded without their heads: a classifier starts fresh.
TASKS = ("BertForSequenceClassification", "BertModel", "BertForMaskedLM", "BertForPreTraining")


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """The shape of a full-size network.

    Attributes:
        segments: segment ids, of which single texts use the first.
        classes: 0 for the pooled vector of a bare encoder.
    """

    encoder: Encoder
    vocab: int
    max_length: int
    segments: int
    classes: int
    pad: int

    def embedding(self, length: int) -> TextEmbeddingSpec:
        """The first layer."""
        e = self.encoder
        return TextEmbeddingSpec(self.vocab, e.embed, self.max_length, self.segments, length, e.eps, e.dropout)

    def head(self) -> TextHeadSpec:
        """The last layer."""
        return TextHeadSpec(self.encoder.embed, self.classes, self.encoder.dropout)


@dataclass(frozen=True, slots=True)
class BertPreset:
    """A full-size network, as config.json has it, and the options of its choices (None: shares of the full size)."""

    config: Mapping[str, Any]
    depths: tuple[int, ...] | None
    heads: tuple[int, ...] | None
    ffns: tuple[int, ...] | None
    length: int = 128


PRESETS: dict[str, BertPreset] = {
    # bert-base-uncased without a task's head, with the options of SimQ-NAS and InstaTune (arXiv 2308.15609).
    "bert_base": BertPreset(
        config={
            "model_type": "bert",
            "architectures": ["BertModel"],
            "vocab_size": 30522,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
        },
        depths=(6, 7, 8, 9, 10, 11, 12),
        heads=(6, 8, 10, 12),
        ffns=(1024, 2048, 3072),
    ),
    # Small enough to fine-tune on a laptop's CPU: the shape of bert-tiny's larger sister, with two classes.
    "tiny": BertPreset(
        config={
            "model_type": "bert",
            "architectures": ["BertForSequenceClassification"],
            "vocab_size": 8192,
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 512,
            "max_position_embeddings": 128,
            "type_vocab_size": 2,
        },
        depths=(1, 2, 3, 4),
        heads=(1, 2, 4),
        ffns=(128, 256, 512),
        length=64,
    ),
}


def space(preset: str, adjustments: Adjustments) -> SearchSpace:
    """The search space of a preset; its weights are as large as the largest options."""
    wanted = PRESETS[preset]
    return _space(
        space_name("bert", preset, adjustments), wanted, read(wanted.config, adjustments.classes), adjustments, False
    )


def checkpoint_space(config: Mapping[str, Any], preset: str | None, adjustments: Adjustments) -> SearchSpace:
    """The search space of a checkpoint: the preset's options, or shares of its own sizes.

    Its weights are the checkpoint's at full size, whatever the choices.

    Raises:
        CheckpointError: not a checkpoint of this family.
        ValueError: options that are larger than the checkpoint.
    """
    wanted = PRESETS[preset] if preset else BertPreset(config, None, None, None)
    if _in_table(config):
        options = Wanted(False, "heads", wanted.depths, wanted.heads, wanted.ffns, wanted.length)
        network = _text_types.read(config, adjustments.classes)
        return network_space("bert", preset, network, options, adjustments)
    text = read(config, adjustments.classes)
    return _space(f"bert/{preset or 'checkpoint'}-{digest(text)}", wanted, text, adjustments, True)


def _in_table(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is read by the table of types: all but BERT, and BERT as an encoder of sentences."""
    return config.get("model_type") != "bert" or POOLING in config


def _space(name: str, preset: BertPreset, text: TextEncoder, adjustments: Adjustments, pretrained: bool) -> SearchSpace:
    length = adjustments.length or min(preset.length, text.max_length)
    if length > text.max_length:
        raise ValueError(f"Got a length of {length} tokens; networks of {name!r} take at most {text.max_length}.")
    options = Options(name, adjustments)
    choices = list(_choices(preset, text.encoder, options, pretrained))
    options.finish()

    def capacity() -> dict[str, LayerSpec]:
        e = text.encoder
        layer = encoder_layer(e, e.embed, e.heads, e.ffn, length)
        layers = {f"layer{i}": layer for i in range(1, e.layers + 1)}
        return {"embedding": text.embedding(length), **layers, "head": text.head()}

    return SearchSpace(
        name,
        choices,
        blueprint=lambda values: _blueprint(text, length, values),
        capacity=capacity if pretrained else None,
        takes=TokenInput(
            text.vocab, length, text.max_length, text.classes or None, None if text.classes else text.encoder.embed
        ),
    )


def _choices(preset: BertPreset, e: Encoder, options: Options, pretrained: bool) -> Iterator[Choice]:
    depths = options.of(
        "depth", preset.depths or shares(e.layers, (2, 3), 1), whole(1, e.layers if pretrained else 1024)
    )
    yield from encoder_choices(
        options,
        depths,
        heads=(preset.heads or shares(e.heads, (2, 3), 1), whole(1, e.heads if pretrained else None)),
        ffns=("ffn", preset.ffns or shares(e.ffn, (1, 2, 3), 8), whole(1, e.ffn if pretrained else None)),
    )


def _blueprint(text: TextEncoder, length: int, values: Values) -> dict[str, LayerSpec]:
    layers: dict[str, LayerSpec] = {"embedding": text.embedding(length)}
    for i in range(1, int(values["depth"]) + 1):
        heads, ffn = int(values[f"layer{i}_heads"]), int(values[f"layer{i}_ffn"])
        layers[f"layer{i}"] = encoder_layer(text.encoder, text.encoder.embed, heads, ffn, length)
    layers["head"] = text.head()
    return layers


# --- checkpoints -----------------------------------------------------------------------------------------


def read(config: Mapping[str, Any], classes: int | None = None) -> TextEncoder:
    """The network that a config.json describes, with another number of classes if wanted.

    Raises:
        CheckpointError: another model type or task, or a number that is missing or impossible.
    """
    reader = ConfigReader(config, ("bert",))
    task = reader.task(TASKS)
    reader.one_of("position_embedding_type", {"absolute": "absolute"}, "absolute")
    if config.get("is_decoder"):
        raise CheckpointError(
            "config.json has is_decoder true: each token would see only those before it, and this family's layers see "
            "all. Start from an encoder."
        )
    own = reader.own_classes(classes) if task == "BertForSequenceClassification" else 0
    return TextEncoder(
        encoder=Encoder.read(reader, norm_first=False, qkv_bias=True, dropout=0.1),
        vocab=reader.whole("vocab_size", 30522),
        max_length=reader.whole("max_position_embeddings", 512),
        segments=reader.whole("type_vocab_size", 2),
        classes=own if classes is None else classes,
        pad=int(config.get("pad_token_id") or 0),
    )


# Model type -> what its tensors are called.
NAMES = {"bert": replace(_text_types.BERT_NAMES, head={"pooler.dense": ("pooler",)})}


def layout(config: Mapping[str, Any], classes: int | None = None) -> Layout:
    """Which tensor of a checkpoint goes where."""
    if _in_table(config):
        return _text_types.read(config, classes).layout()
    text = read(config, classes)
    reader = ConfigReader(config, ("bert",))
    task = reader.task(TASKS)
    names = NAMES[reader.model_type]
    base = "" if task == "BertModel" else "bert."
    found = places("embedding", _embedding_shapes(text), prefixed(base, names.embedding))
    for number in range(1, text.encoder.layers + 1):
        found |= names.layer_places(number, text.encoder.shapes(), base=base)
    # A masked language model has no pooler, and neither it nor a bare encoder has a classifier.
    shapes, table = _head_shapes(text), prefixed(base, names.head)
    found |= places("head", shapes, table, optional=task == "BertForMaskedLM")
    new = task != "BertForSequenceClassification" or classes is not None
    other = task == "BertForSequenceClassification" and not reader.classifies()
    found |= places("head", shapes, {"classifier": ("classifier",)}, optional=new, fresh=other)
    return Layout(found, ("cls.*", "*embeddings.position_ids"), Spelling("bert"))


def _embedding_shapes(text: TextEncoder) -> dict[str, tuple[int, ...]]:
    embed = text.encoder.embed
    rows = {"tokens": text.vocab, "positions": text.max_length, "segments": text.segments}
    tables = {f"{name}.weight": (number, embed) for name, number in rows.items()}
    return tables | {"norm.weight": (embed,), "norm.bias": (embed,)}


def _head_shapes(text: TextEncoder) -> dict[str, tuple[int, ...]]:
    embed = text.encoder.embed
    shapes: dict[str, tuple[int, ...]] = {"pooler.weight": (embed, embed), "pooler.bias": (embed,)}
    if text.classes:
        shapes |= {"classifier.weight": (text.classes, embed), "classifier.bias": (text.classes,)}
    return shapes


def config_of(layers: Mapping[str, LayerSpec], checkpoint: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config.json under which transformers builds a network of these layers, the widest of them everywhere.

    A layer that is narrower computes the same with zeros in the rest. Heads are as many as fill the hidden size,
    because transformers' BERT knows no other.

    Args:
        checkpoint: config.json of the checkpoint that they came from; types of a table need it.

    Raises:
        CheckpointError: no model of transformers has such layers.
    """
    if any(isinstance(layer, WordEmbeddingSpec) for layer in layers.values()):
        return _text_types.config_of(layers, checkpoint)
    embedding, *middle, head = layers.values()
    if not isinstance(embedding, TextEmbeddingSpec) or not isinstance(head, TextHeadSpec):
        raise CheckpointError("its layers are not those of an encoder of text")
    first, sizes = config_of_layers(middle, norm_first=False)
    heads, rest = divmod(first.embed, first.head_dim)
    if rest or sizes["num_attention_heads"] > heads:
        raise CheckpointError(
            f"transformers' BERT has as many heads as fill its hidden size, {first.embed} / {first.head_dim}, and a "
            f"layer of this network has {sizes['num_attention_heads']}"
        )
    labels = {"num_labels": head.classes} if head.classes else {}
    return {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification" if head.classes else "BertModel"],
        **sizes,
        "num_attention_heads": heads,
        "vocab_size": embedding.vocab,
        "max_position_embeddings": embedding.positions,
        "type_vocab_size": embedding.segments,
        "position_embedding_type": "absolute",
        **labels,
    }


# Adjustments under which a preset that is too big for a test runs in one; None: nothing that may be
# adjusted makes its networks small, and the other presets run the same code.
NARROWED: dict[str, Adjustments | None] = {"bert_base": None}
