"""SN-Net (arXiv 2302.06586): networks between trained ones, by stitching layers that start by least squares.

Every step trains one network, each as likely as every other one, with the anchors tuned along; rate, warm-up, decay and
drop in the floor are those of the authors' DeiT (a batch of 1024, of which the rate is 1e-4). Their 50 epochs are those
of ImageNet. The largest anchor teaches in place of RegNetY-160, with the same half of the loss.

Name two or more checkpoints of one model type in `supernet.pretrained`, and data in `data.path`. Without checkpoints
two small ViTs and what lies between them are trained from nothing.
"""

from __future__ import annotations

from typing import Any

DEFAULTS: dict[str, Any] = {
    "supernet": {"family": "stitched", "preset": "cifar"},
    "data": {"source": "cifar10", "path": "cifar10"},
    "training": {
        "method": "stitching",
        "epochs": 50,
        "batch_size": 128,
        "optimizer": "adamw",
        "learning_rate": 5e-4,
        "schedule": "cosine",
        "warmup_epochs": 5,
        "lr_decay": 1.0,
        "lr_decay_epochs": 1.0,
        "lr_floor": 0.01,
        "weight_decay": 0.05,
        "momentum": 0.9,
        "clip_norm": 5.0,
        "options": {"anchors": "tuned", "distillation": 0.5},
    },
    "objectives": [{"metric": "accuracy"}, {"metric": "macs"}],
    # Spaces of two or three anchors are small enough to be scored whole.
    "search": {"algorithm": "exhaustive", "evaluations": 100, "calibration_images": 512},
}

# Trained networks are fine-tuned: gently, and with what lies between them as the space.
WITH_PRETRAINED: dict[str, Any] = {
    "training": {"epochs": 10, "learning_rate": 1e-4, "warmup_epochs": 1},
}
