"""What a config.json says, checked as transformers' configuration classes check it, without torch.

The rules are those of transformers 5.24: `PreTrainedConfig` and the classes of our families are strict about types, and
what they let pass fails when the network is built.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any


class CheckpointError(ValueError):
    """The folder is not a checkpoint that can be used; the message says why and what to do."""


# Keys of config.json that are switches, wherever a family has them.
SWITCHES = (
    "add_cross_attention",
    "attention_bias",
    "is_decoder",
    "mlp_bias",
    "qkv_bias",
    "tie_word_embeddings",
    "use_cache",
    "use_sliding_window",
)
# Kinds of rotary scaling that transformers computes -> what it cannot do without.
ROTARY: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "longrope": ("short_factor", "long_factor"),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
}


# Words in the name of a key that changes what a network computes.
COMPUTES = re.compile(
    r"scal(e|ing)|multiplier|soft_?cap|clip|alibi|residual|temperature|sink|bidirectional|interleave|parallel|qk_|_qk|"
    r"norm|bias|window|expert|moe|rope|rotary|mup|gate|gating|conv|head_dim|hidden_act|activation|position_embedding|"
    r"attention_type|attn_|layer_types|sparse|pooling|register|patch|embedding_size|embd"
)
# Values that mean nothing, whatever the key.
MEANINGLESS = (0, 1, "", "none", "absolute")
# Keys with such words that change nothing, or only the training from scratch.
READ_ELSEWHERE = (
    "attn_implementation",
    "decoder_bias",
    "deterministic_flash_attn",
    "max_window_layers",
    "sliding_window_size",
    "repad_logits_with_grad",
    "sparse_pred_ignore_index",
    "_attn_implementation",
    "auto_map",
    "embedding_initializer_range",
    "initializer_range",
    "gradient_checkpointing",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "scale_grad_by_freq",
    "summary_activation",
    "use_flash_attn",
)


def check_fields(config: Mapping[str, Any]) -> None:
    """Refuse what no network of any family can be built from.

    Raises:
        CheckpointError: a switch that is none, a padding token outside the vocabulary, contradicting labels.
    """
    for key in SWITCHES:
        if not isinstance(config.get(key, False), bool):
            raise CheckpointError(f"config.json must give {key!r} as true or false; got {config[key]!r}.")
    vocab, pad = config.get("vocab_size"), config.get("pad_token_id")
    if pad is not None and (not isinstance(pad, int) or isinstance(pad, bool)):
        raise CheckpointError(f"config.json must give 'pad_token_id' as a whole number or null; got {pad!r}.")
    if isinstance(vocab, int) and pad is not None and not -vocab <= pad < vocab:
        raise CheckpointError(f"config.json has pad_token_id {pad}, outside its vocabulary of {vocab} tokens.")


def check_rotary(config: Mapping[str, Any], head_dim: int, partial: float | None = None) -> None:
    """Refuse rotary positions that transformers cannot compute.

    Args:
        head_dim: width of a head; its halves are turned against each other.
        partial: share of a head that is turned where the file says nothing; None: layers that turn all or nothing.

    Raises:
        CheckpointError: an odd width, an unknown kind, or a kind without its numbers.
    """
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if partial is not None and isinstance(given, Mapping):
        share = given.get("partial_rotary_factor", config.get("partial_rotary_factor", partial))
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share <= 1:
            raise CheckpointError(f"config.json must turn a share from 0 to 1 of each head; got {share!r}.")
        # transformers rounds an odd number of turned ones up where the head has room for it.
        turned = int(head_dim * share)
        head_dim = turned + turned % 2 if turned + turned % 2 <= head_dim else turned
    if head_dim % 2 or not head_dim:
        raise CheckpointError(
            f"config.json gives heads of {head_dim} numbers; rotary positions turn pairs, so their number must be even."
        )
    if not isinstance(given, Mapping):
        raise CheckpointError(f"config.json must give rotary scaling as a mapping or null; got {given!r}.")
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in ROTARY:
        raise CheckpointError(f"config.json has rotary scaling {kind!r}; supported are {', '.join(ROTARY)}.")
    lacking = [key for key in ROTARY[kind] if given.get(key) is None and config.get(key) is None]
    if lacking:
        raise CheckpointError(f"config.json has rotary scaling {kind!r} without its {lacking[0]!r}.")
    share = given.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    if partial is None and share not in (None, 1, 1.0):
        raise CheckpointError(
            f"config.json turns only a share of {share!r} of each head; layers of this family turn all."
        )


class ConfigReader:
    """Reads what a family needs from a checkpoint's configuration.

    Args:
        config: the content of config.json.
        model_types: those that the family supports.

    Raises:
        CheckpointError: another model type, or quantized weights.
    """

    def __init__(self, config: Mapping[str, Any], model_types: tuple[str, ...]) -> None:
        self.config = config
        self.read = set(READ_ELSEWHERE)
        self.model_type = str(config.get("model_type"))
        if self.model_type not in model_types:
            raise CheckpointError(
                f"The checkpoint's model_type is {config.get('model_type')!r}; this family supports "
                f"{', '.join(model_types)}."
            )
        if config.get("quantization_config") or config.get("compression_config"):
            raise CheckpointError("The checkpoint's weights are quantized; start from the full-precision ones.")
        check_fields(config)

    def value(self, key: str, default: Any = None) -> Any:
        """What the file says, or the default where it says nothing."""
        self.read.add(key)
        value = self.config.get(key)
        return default if value is None else value

    def switch(self, key: str, default: bool) -> bool:
        """True or false.

        Raises:
            CheckpointError: it is something else.
        """
        value = self.value(key, default)
        if not isinstance(value, bool):
            raise CheckpointError(f"config.json must give {key!r} as true or false; got {value!r}.")
        return value

    def only(self, key: str, neutral: tuple[Any, ...], reason: str) -> None:
        """Refuse what is not supported.

        Args:
            neutral: values with which the network is as without the key; null is always one.
            reason: what the others would mean.

        Raises:
            CheckpointError: another value.
        """
        value = self.value(key)
        if value is not None and value not in neutral:
            raise CheckpointError(f"config.json has {key} {value!r}: {reason}, which is not supported.")

    def refuse_unread(self) -> None:
        """Refuse keys that nobody has read and whose names say that they change what is computed.

        Raises:
            CheckpointError: there is one, with a value that is none of those that mean nothing.
        """
        for key, value in self.config.items():
            harmless = value is None or value is False or (not isinstance(value, bool) and value in MEANINGLESS)
            if key in self.read or harmless or value in ([], {}) or not COMPUTES.search(key):
                continue
            raise CheckpointError(
                f"config.json has {key} {value!r}, which layers of model_type {self.model_type!r} do not have here: "
                "what it does would be left out. Remove the key if it means nothing."
            )

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 1.

        Raises:
            CheckpointError: it is missing and there is no default, or it is something else.
        """
        self.read.add(key)
        value = self.config.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f"config.json must give {key!r} as a whole number of at least 1; got {value!r}.")
        return value

    def ratio(self, key: str, default: float, most: float = math.inf) -> float:
        """A number of at least 0, such as a dropout (at most 1) or an epsilon."""
        self.read.add(key)
        value = self.config.get(key)
        value = default if value is None else value
        right = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most
        if not right:
            bounds = "of at least 0" if most == math.inf else f"from 0 to {most:g}"
            raise CheckpointError(f"config.json must give {key!r} as a number {bounds}; got {value!r}.")
        return float(value)

    def one_of(self, key: str, known: Mapping[str, str], default: str) -> str:
        """What a word of the configuration stands for."""
        self.read.add(key)
        value = self.config.get(key) or default
        if value not in known:
            raise CheckpointError(f"config.json has {key} {value!r}; supported are {', '.join(known)}.")
        return known[value]

    def task(self, known: tuple[str, ...]) -> str:
        """The class that the checkpoint was saved from.

        Raises:
            CheckpointError: it is for another task.
        """
        named = self.config.get("architectures") or [known[0]]
        if named[0] not in known:
            raise CheckpointError(f"The checkpoint is a {named[0]}; this family starts from {', '.join(known)}.")
        return str(named[0])

    def num_labels(self) -> int:
        """Number of classes of a classifier (transformers' default is 2)."""
        labels = self.config.get("id2label")
        return len(labels) if isinstance(labels, Mapping) else self.whole("num_labels", 2)

    def classifies(self) -> bool:
        """Whether the classifier names one class of each example, and neither a number nor any of several labels."""
        problem = self.config.get("problem_type")
        return self.num_labels() > 1 and problem in (None, "single_label_classification")

    def own_classes(self, classes: int | None) -> int:
        """Number of classes of the checkpoint's classifier.

        Args:
            classes: that the job asks for, which makes a new classifier where the stored one is of another task.

        Raises:
            CheckpointError: the checkpoint does not classify, and the job does not ask for a new classifier.
        """
        number = self.num_labels()
        if classes is None and not self.classifies():
            does = "a number" if number == 1 else "any of several labels at once, or numbers,"
            raise CheckpointError(
                f"This checkpoint predicts {does} (num_labels {number}, problem_type "
                f"{self.config.get('problem_type') or 'not given'}); only classification, one class of each example, "
                "is supported. Say how many `classes` a new classifier should have."
            )
        return number


def shares(total: int, quarters: tuple[int, ...], multiple: int) -> tuple[int, ...]:
    """Quarters of a size, rounded to a multiple (of 1 where the size is not one); the size itself is last."""
    step = multiple if total % multiple == 0 else 1
    parts = {max(step, round(total * quarter / 4 / step) * step) for quarter in quarters}
    return tuple(sorted({part for part in parts if part < total} | {total}))
