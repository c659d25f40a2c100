"""Written: the config.json of a network that was cut out of a checkpoint's, for model types that are rows of a table.

It is the checkpoint's own with other sizes. Whether the network is what that file describes, but for zeros, is not
argued type by type: the file is read again, and layer by layer what it describes must be the network's or wider where
zeros change nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from search_space.checkpoint import IMAGE_SIDE, CheckpointError
from search_space.layers import LayerSpec, TransformerLayerSpec

# Fields that may be smaller than the file's: what is cut off is zeros there.
ELASTIC = frozenset({"heads", "kv_heads", "ffn", "experts", "hidden", "hidden_channels"})
# Keys that are of the folder a network came from, or that the file says in another way.
LEFT_BEHIND = (
    "_name_or_path",
    "_out_features",
    "_out_indices",
    "_sliding_window_pattern",
    "auto_map",
    "dtype",
    "id2label",
    "label2id",
    "no_rope_layer_interval",
    "num_labels",
    "out_features",
    "out_indices",
    "problem_type",
    "sliding_window_pattern",
    "torch_dtype",
    "transformers_version",
    IMAGE_SIDE,
)


def of_checkpoint(layers: Mapping[str, LayerSpec], checkpoint: Mapping[str, Any] | None) -> dict[str, Any]:
    """The checkpoint's configuration without what another folder's must not have.

    Raises:
        CheckpointError: nobody says from which checkpoint the layers are.
    """
    if checkpoint is None:
        kinds = ", ".join(sorted({layer.kind for layer in layers.values()}))
        raise CheckpointError(f"transformers describes such layers ({kinds}) by the checkpoint that they came from")
    return {key: value for key, value in checkpoint.items() if key not in LEFT_BEHIND}


def confirm(pairs: Iterable[tuple[str, LayerSpec, LayerSpec]]) -> None:
    """See that a file describes a network, but for zeros.

    Args:
        pairs: slot, layer that the file describes, layer of the network.

    Raises:
        CheckpointError: it does not; the message says where and why.
    """
    for slot, file, own in pairs:
        if type(file) is not type(own):
            raise CheckpointError(f"transformers has another kind of layer as its {slot}")
        theirs, mine = _compared(file), _compared(own)
        across: frozenset[str] = getattr(own, "norms_across", frozenset())
        for name, value in mine.items():
            if name in own.free - across or value == theirs[name]:
                continue
            if name in across:
                raise CheckpointError(
                    f"{slot} has {name} {value} where transformers' model would have {theirs[name]}, and a norm (or a "
                    "router) spans them: with zeros in the place of those that it lacks it would be another network"
                )
            if name not in ELASTIC or value > theirs[name]:
                there = _short(theirs[name])
                raise CheckpointError(
                    f"{slot} has {name} {_short(value)}, and transformers' model would have {there} there"
                )


def _compared(spec: LayerSpec) -> dict[str, Any]:
    """Its fields. How many heads there are says nothing about rotary positions, whose width is compared by itself."""
    if not isinstance(spec, TransformerLayerSpec):
        return spec.fields()
    facts = asdict(spec.facts)
    rotary = json.loads(spec.facts.rotary or "{}")
    facts["rotary"] = {key: value for key, value in rotary.items() if key not in ("head_dim", "num_attention_heads")}
    return {name: value for name, value in spec.fields().items() if name != "form"} | facts


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 200 else text[:200] + "..."
