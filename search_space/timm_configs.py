"""config.json of timm's folders, in the words of the model types that are read here.

timm names an architecture and little else: sizes follow from the name, and `model_args` changes them. Read are BEiT-3's
image encoders (arXiv 2208.10442), which no class of transformers has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from search_space.config_reader import CheckpointError

BEIT3 = re.compile(r"beit3_(base|large)_patch(\d+)_(\d+)")
# Width, layers, heads.
SIZES = {"base": (768, 12, 12), "large": (1024, 24, 16)}
# Arguments of timm's class that are sizes, and what they are called here.
ARGUMENTS = {
    "embed_dim": "hidden_size",
    "depth": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "img_size": "image_size",
    "patch_size": "patch_size",
    "in_chans": "num_channels",
}
# Of timm's processors, to Pillow's numbers.
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def of_timm(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration of timm says in the words of `_image_types`; nothing of any other.

    Raises:
        CheckpointError: arguments that are not sizes, or another pooling.
    """
    found = None if "model_type" in config else BEIT3.fullmatch(str(config.get("architecture", "")).split(".")[0])
    if found is None:
        return {}
    embed, layers, heads = SIZES[found.group(1)]
    given = {**_mapping(config, "model_args")}
    ratio = given.pop("mlp_ratio", 4)
    strange = sorted(set(given) - set(ARGUMENTS))
    if strange:
        raise CheckpointError(f"config.json has model_args {strange[0]!r}, which is not read; its sizes are.")
    if config.get("global_pool", "avg") != "avg":
        raise CheckpointError(f"config.json has global_pool {config['global_pool']!r}; BEiT-3 averages its patches.")
    sizes: dict[str, Any] = {
        "hidden_size": embed,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "image_size": int(found.group(3)),
        "patch_size": int(found.group(2)),
    }
    sizes |= {ARGUMENTS[name]: value for name, value in given.items()}
    classes = config.get("num_classes", 1000)
    labels = {"num_labels": classes} if classes else {}
    task = "Beit3ForImageClassification" if classes else "Beit3Model"
    ffn = int(sizes["hidden_size"] * ratio)
    return {"model_type": "beit3", "architectures": [task], **sizes, "intermediate_size": ffn, **labels}


def processor_of_timm(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `pretrained_cfg` says of pictures, as a processor of transformers says it; None where it says nothing."""
    facts = _mapping(config, "pretrained_cfg")
    if "mean" not in facts or "std" not in facts:
        return None
    size, share = facts.get("input_size", [3, 224, 224])[-1], facts.get("crop_pct", 0.875)
    filter_ = facts.get("interpolation", "bicubic")
    if filter_ not in FILTERS:
        raise CheckpointError(f"config.json has interpolation {filter_!r}; known are {', '.join(FILTERS)}.")
    square = {"height": size, "width": size}
    return {
        "image_processor_type": "timm",
        "do_resize": True,
        "size": {"shortest_edge": int(size / share)},
        "resample": FILTERS[filter_],
        "do_center_crop": True,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(facts["mean"]),
        "image_std": list(facts["std"]),
    }


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = config.get(key) or {}
    if not isinstance(found, Mapping):
        raise CheckpointError(f"config.json must give {key!r} as a mapping; got {type(found).__name__}.")
    return found
