"""ProxylessNAS (arXiv 1812.00332): search by gradient for the target hardware, then train what was found alone.

Optimizer, schedule, weight decay, label smoothing, turns and Adam's betas are those of the published code
(mit-han-lab/proxylessnas, `search/imagenet_arch_search.py`). What depends on the scale of ImageNet is smaller for the
default space and data, which need no download: learning rates (0.05 for batches of 256 in the warm-up, 0.025 in the
search), epochs (40, 120 and 300) and Adam's rate (1e-3 for thousands of steps). On ImageNet: `{"supernet": {"preset":
"imagenet"}, "training": {"epochs": 120, "batch_size": 256, "learning_rate": 0.025}, "gradient": {"warmup_epochs": 40,
"warmup_learning_rate": 0.05, "learning_rate": 0.001, "final": {"epochs": 300, "batch_size": 256, "learning_rate":
0.05}}}`.
"""

from __future__ import annotations

from typing import Any

_WEIGHTS: dict[str, Any] = {
    "batch_size": 64,
    "optimizer": "sgd",
    "schedule": "cosine",
    "lr_decay": 0.97,
    "lr_decay_epochs": None,
    "lr_floor": 0.0,
    "weight_decay": 4e-5,
    "momentum": 0.9,
    "clip_norm": 5.0,
}

DEFAULTS: dict[str, Any] = {
    "supernet": {"family": "proxyless", "preset": "digits"},
    "data": {"source": "digits"},
    "training": {
        **_WEIGHTS,
        "method": "proxylessnas",
        "epochs": 40,
        "learning_rate": 0.1,
        "options": {"label_smoothing": 0.1},
    },
    "objectives": [{"metric": "accuracy"}, {"metric": "latency_ms"}],
    # The number of evaluations is that of the networks; 250 is for another algorithm in its place.
    "search": {"algorithm": "gradient", "evaluations": 250, "calibration_images": 512},
    "gradient": {
        "targets": ["cpu-onnxruntime"],
        "latency_weights": [0.0, 0.1, 0.5],
        # The published script's own default; two-path steps need several times as many (docs/log.md).
        "mode": "full",
        "warmup_epochs": 20,
        "warmup_learning_rate": 0.2,
        "learning_rate": 0.02,
        "held_out_share": 0.2,
        "final": {
            **_WEIGHTS,
            "method": "single",
            "epochs": 30,
            "learning_rate": 0.05,
            "options": {"label_smoothing": 0.1},
        },
    },
}
