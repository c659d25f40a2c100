"""BigNAS (arXiv 2003.11142): train one single-stage supernet, then search it without retraining.

Where the paper's number depends on its scale, the recipe keeps the paper's rule: the learning rate is
0.256 per 4,096 images of a batch, and its decay reaches the floor at the same share of the training
(section 3.1). The default space and data are the ones that need no download.
"""

from __future__ import annotations

from typing import Any

DEFAULTS: dict[str, Any] = {
    "supernet": {"family": "mobilenet", "preset": "digits"},
    "data": {"source": "digits"},
    "training": {
        "method": "bignas",
        "epochs": 30,
        "batch_size": 64,
        "optimizer": "rmsprop",
        "learning_rate": 0.004,
        "lr_decay": 0.97,
        "lr_decay_epochs": None,
        "lr_floor": 0.05,
        "weight_decay": 1e-5,
        "momentum": 0.9,
        "clip_norm": 5.0,
        "options": {"num_random": 2, "label_smoothing": 0.1},
    },
    "objectives": [{"metric": "accuracy"}, {"metric": "macs"}],
    "search": {"algorithm": "winnow", "evaluations": 250, "calibration_images": 512},
}
