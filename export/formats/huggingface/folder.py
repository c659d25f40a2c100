"""What a folder for transformers has beside its weights: names of classes, special tokens, an image processor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from export.contents import BundleContents
from export.streamed import Made
from search_space.families._text_types import TYPES as TEXT_TYPES
from search_space.sentences import POOLING, Pooling, sentence_files

GENERATION = "generation_config.json"
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
# Pillow's numbers of its filters.
RESAMPLING = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


def extras(config: Mapping[str, Any], contents: BundleContents) -> dict[str, Any]:
    """What config.json says besides sizes: special tokens of the checkpoint, names of the classes."""
    checkpoint = contents.facts.get("checkpoint") or {}
    found: dict[str, Any] = {}
    if "vocab_size" in config:
        vocab = config["vocab_size"]
        for key in SPECIAL:
            if key not in checkpoint and config.get(key) is None and checkpoint:
                continue  # the class's own, which no file needs to say
            value = checkpoint.get(key)
            found[key] = value if value is None or isinstance(value, list) or value < vocab else None
        if config["model_type"] == "bert" and found.get("pad_token_id") is None:
            found["pad_token_id"] = 0
    if "num_labels" in config:
        names = contents.facts.get("preprocessing", {}).get("labels")
        count = config["num_labels"]
        if names is None or len(names) != count:
            names = [f"LABEL_{number}" for number in range(count)]
        found["id2label"] = {str(number): str(name) for number, name in enumerate(names)}
        found["label2id"] = {str(name): number for number, name in enumerate(names)}
        found["problem_type"] = "single_label_classification"
    return found


def folder_files(config: Mapping[str, Any], contents: BundleContents) -> dict[str, Any]:
    """File -> JSON, of all that lies beside the weights."""
    pooling = Pooling.read(config.get(POOLING))
    files: dict[str, Any] = {"config.json": {key: value for key, value in config.items() if key != POOLING}}
    made = {
        "generation_config.json": generation_config(config, contents),
        "preprocessor_config.json": image_processor(config, contents.facts),
    }
    files |= {name: content for name, content in made.items() if content is not None}
    if pooling is not None:
        width = config.get("hidden_size", config.get("dim"))
        files |= sentence_files(pooling, int(width), int(config.get("max_position_embeddings", 512)))
    return files


def unused(config: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Made]:
    """Tensors that transformers' class has and the network does not use: without them it would warn.

    An encoder of sentences pools by a module of its own, and the pooler of its base model is not asked.
    """
    kind = str(config["model_type"])
    if POOLING not in config or not TEXT_TYPES[kind].bare.pooler:
        return {}
    embed = int(config["hidden_size"])
    shapes = {"pooler.dense.weight": (embed, embed), "pooler.dense.bias": (embed,)}
    return {name: Made(shape, dtype, partial(torch.zeros, shape, dtype=dtype)) for name, shape in shapes.items()}


def generation_config(config: Mapping[str, Any], contents: BundleContents) -> dict[str, Any] | None:
    """How a language model generates: the checkpoint's own file, or its special tokens; None for other networks."""
    if not str(config["architectures"][0]).endswith(("ForCausalLM", "LMHeadModel")):
        return None
    own = next((file for file in contents.companions if file.name == GENERATION), None)
    if own is not None:
        given: dict[str, Any] = json.loads(Path(own).read_text(encoding="utf-8"))
        return given
    special = extras(config, contents)
    return {key: special[key] for key in SPECIAL if special.get(key) is not None}


def image_processor(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """`preprocessor_config.json`: pixels from 0 to 255 become what the network eats; None for texts."""
    said = facts.get("preprocessing") or {}
    sizes = config.get("vision_config", config)
    if "image_size" not in sizes or "mean" not in said:
        return None
    size = int(sizes["image_size"])
    white = float(said.get("full_scale", 255.0))
    fit = said.get("fit") or {"edge": size, "keeps_ratio": False, "resample": "bilinear", "crop": None}
    given: dict[str, Any] = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": fit["edge"] is not None,
        "size": {"height": size, "width": size},
        "resample": RESAMPLING[fit["resample"]],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": _per_channel(said["mean"], white),
        "image_std": _per_channel(said["std"], white),
    }
    if fit["crop"] is not None:
        edge = {"shortest_edge": fit["edge"]} if fit["keeps_ratio"] else {"height": fit["edge"], "width": fit["edge"]}
        crop = {"height": fit["crop"], "width": fit["crop"]}
        # A processor of transformers that resizes the shorter side and then cuts the centre out.
        given |= {"image_processor_type": "CLIPImageProcessor", "size": edge, "do_center_crop": True, "crop_size": crop}
    return given


def _per_channel(value: Any, white: float) -> list[float]:
    return [float(number) / white for number in (value if isinstance(value, list | tuple) else [value])]
