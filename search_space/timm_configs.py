"""config.json of timm's and torchvision's weights, in the words of the model types that are read here.

timm names an architecture and little else: sizes follow from the name, and `model_args` changes them. torchvision's
state dicts have no configuration; {"architecture": "mobilenet_v3_large"} beside them is one. Read are BEiT-3's image
encoders (arXiv 2208.10442), ResNets, and the published networks of the family `mobilenet`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
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
# Kind of block, and blocks of each stage; timm and torchvision have one name for each and for its tensors.
RESNETS = {
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet34": ("basic", [3, 4, 6, 3]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
    "resnet101": ("bottleneck", [3, 4, 23, 3]),
    "resnet152": ("bottleneck", [3, 8, 36, 3]),
}
# timm's and torchvision's names -> those of `_mobilenet_tables.PUBLISHED`, with the side of their images.
EFFICIENTNETS = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380, "b7": 600}
MOBILENETS = {
    "mobilenet_v2": ("mobilenet_v2", 224),
    "mobilenet_v3_large": ("mobilenet_v3_large", 224),
    "mobilenet_v3_small": ("mobilenet_v3_small", 224),
    "mobilenetv2_035": ("mobilenet_v2_035", 224),
    "mobilenetv2_050": ("mobilenet_v2_050", 224),
    "mobilenetv2_075": ("mobilenet_v2_075", 224),
    "mobilenetv2_100": ("mobilenet_v2", 224),
    "mobilenetv2_140": ("mobilenet_v2_140", 224),
    "mobilenetv3_large_100": ("mobilenet_v3_large", 224),
    "mobilenetv3_small_100": ("mobilenet_v3_small", 224),
    "mnasnet_100": ("mnasnet_b1", 224),
    **{f"efficientnet_{size}": (f"efficientnet_{size}", side) for size, side in EFFICIENTNETS.items()},
}
# Which of the two has named the tensors is told by the first one of torchvision's networks of blocks.
TENSOR_NAMES = "tensor_names"
TORCHVISIONS = "features.0.0.weight"
# Of timm's processors, to Pillow's numbers.
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def of_timm(config: Mapping[str, Any], tensors: Collection[str] = ()) -> dict[str, Any]:
    """What a configuration of timm or torchvision says in the words of our readers; nothing of any other.

    Args:
        tensors: names of the weights.

    Raises:
        CheckpointError: another architecture, arguments that are not read, or another pooling.
    """
    if "model_type" in config or "architecture" not in config:
        return {}
    called = str(config["architecture"])
    name = called.split(".")[0]
    if BEIT3.fullmatch(name):
        return _beit3(config, name)
    if name not in RESNETS and name not in MOBILENETS:
        known = ", ".join((*RESNETS, *MOBILENETS, "beit3_base_patch16_224"))
        raise CheckpointError(
            f"config.json has architecture {called!r}; supported of timm's and torchvision's are {known}."
        )
    if config.get("global_pool", "avg") != "avg":
        raise CheckpointError(f"config.json has global_pool {config['global_pool']!r}; {name} averages its pixels.")
    given = {**_mapping(config, "model_args")}
    channels = given.pop("in_chans", 3)
    classes = given.pop("num_classes", config.get("num_classes", 1000))
    if given:
        raise CheckpointError(
            f"config.json has model_args {next(iter(given))!r}, which is not read; in_chans and num_classes are."
        )
    family, side = ("ResNet", 224) if name in RESNETS else ("MobileNet", MOBILENETS[name][1])
    shape = _mapping(config, "pretrained_cfg").get("input_size", [channels, side, side])
    if not isinstance(shape, list | tuple) or len(shape) != 3 or shape[1] != shape[2]:
        raise CheckpointError(f"config.json must give input_size as channels and a square; got {shape!r}.")
    told: dict[str, Any] = {
        "architectures": [f"{family}ForImageClassification" if classes else f"{family}Model"],
        "num_channels": channels,
        "image_size": shape[1],
        TENSOR_NAMES: "torchvision" if TORCHVISIONS in tensors else "timm",
    }
    if classes:
        told["num_labels"] = classes
    if name in MOBILENETS:
        return {"model_type": "mobilenet", "table": MOBILENETS[name][0], **told}
    kind, depths = RESNETS[name]
    widths = [width * (4 if kind == "bottleneck" else 1) for width in (64, 128, 256, 512)]
    sizes = {"layer_type": kind, "depths": depths, "hidden_sizes": widths, "embedding_size": 64, "hidden_act": "relu"}
    return {"model_type": "resnet", **sizes, **told}


def _beit3(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = BEIT3.fullmatch(name)
    assert found is not None
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
