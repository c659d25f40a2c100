"""SortedNet (arXiv 2309.00255): nested sub-models by random draws, no teacher, no search needed.

The default space and data are the ones that need no download, with every choice of the space truncated by
itself. The paper's 160 sub-models of MobileNetV2 on CIFAR-10 are
`{"supernet": {"preset": "mobilenet_v2"}, "data": {"source": "cifar10", "path": ...}, "training": {"options":
{"dimensions": "width_depth"}}}`; asking for 160 evaluations of every one of them is its search-free selection.
Optimizer and schedule follow its comparison with learned compressible subspaces (arXiv 2110.04252).
"""

from __future__ import annotations

from typing import Any

DEFAULTS: dict[str, Any] = {
    "supernet": {"family": "mobilenet", "preset": "digits"},
    "data": {"source": "digits"},
    "training": {
        "method": "sortednet",
        "epochs": 60,
        "batch_size": 128,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "schedule": "cosine",
        "lr_decay": 0.97,
        "lr_decay_epochs": None,
        "lr_floor": 0.0,
        "weight_decay": 5e-4,
        "momentum": 0.9,
        "clip_norm": 5.0,
        "options": {"draws": 4, "batches": "fresh", "dimensions": "free", "distribution": "sandwich"},
    },
    "objectives": [{"metric": "accuracy"}, {"metric": "macs"}],
    "search": {"algorithm": "winnow", "evaluations": 250, "calibration_images": 512},
}
