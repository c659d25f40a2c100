"""ConvNeXt family: convolutional networks of checkpoints, and a small ConvNeXt to train.

Elastic are the blocks of each stage (the first ones are kept) and the channels inside of each block. Checkpoints are
those of `_cnn_types`: ConvNeXt and ConvNeXt V2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_space.adjustments import Adjustments
from search_space.checkpoint import Layout
from search_space.families import _cnn_types
from search_space.layers import LayerSpec
from search_space.space import SearchSpace

MODEL_TYPES = ("convnext", "convnextv2")
# Jobs from before the family `mobilenet` read these have them here.
READ = (*MODEL_TYPES, "mobilenet_v2", "efficientnet")

PRESETS: dict[str, Mapping[str, Any]] = {
    # 32x32 images in patches of 2: small enough to train on a laptop's CPU.
    "cifar": {
        "model_type": "convnext",
        "architectures": ["ConvNextForImageClassification"],
        "image_size": 32,
        "patch_size": 2,
        "num_stages": 3,
        "hidden_sizes": [32, 64, 128],
        "depths": [2, 4, 2],
        "num_labels": 10,
    },
}


def space(preset: str, adjustments: Adjustments) -> SearchSpace:
    """The search space of a preset; its weights are as large as the largest options."""
    network = _cnn_types.read(PRESETS[preset], adjustments.classes)
    return _cnn_types.staged_space("convnext", preset, network, adjustments, pretrained=False)


def checkpoint_space(config: Mapping[str, Any], preset: str | None, adjustments: Adjustments) -> SearchSpace:
    """The search space of a checkpoint: shares of its own sizes.

    Raises:
        CheckpointError: not a checkpoint of this family.
        ValueError: options that are larger than the checkpoint, or a preset, whose stages are others.
    """
    return _cnn_types.checkpoint_space("convnext", READ, config, preset, adjustments)


def layout(config: Mapping[str, Any], classes: int | None = None) -> Layout:
    """Which tensor of a checkpoint goes where."""
    return _cnn_types.read(config, classes).layout()


def config_of(layers: Mapping[str, LayerSpec], checkpoint: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config.json of a part of a checkpoint's network, or of a network of a preset: see `_cnn_types`.

    Args:
        checkpoint: config.json of the checkpoint that they came from; None: a preset's networks.

    Raises:
        CheckpointError: transformers has no such network, also not with zeros.
    """
    return _cnn_types.config_of(layers, checkpoint or PRESETS["cifar"])


NARROWED: dict[str, Adjustments | None] = {}
