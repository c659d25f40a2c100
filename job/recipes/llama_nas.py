"""LLaMA-NAS (arXiv 2405.18377): fine-tune a pretrained language model once, then search it genetically.

The full network and one random sub-network are trained in turn, with no teacher; the search is genetic, with 250
evaluations in populations of 50. Two things go beyond the paper. Neurons and groups of heads are ordered by importance
first, so that narrower layers keep the best. And groups of key-value heads are searched, beside layers and widths,
unless the space is kept to vLLM (`supernet.deployable`), which wants all query heads.
`{"search": {"algorithm": "linas"}}` is the paper's own loop.

Nothing is downloaded: name a checkpoint in `supernet.pretrained` and a text in `data.path`. Without a checkpoint a
small llama of bytes is trained from nothing.
"""

from __future__ import annotations

from typing import Any

DEFAULTS: dict[str, Any] = {
    "supernet": {"family": "llama", "preset": "tiny"},
    "data": {"source": "text", "path": "train.txt"},
    "training": {
        "method": "alternating",
        "epochs": 4,
        "batch_size": 16,
        "optimizer": "adamw",
        "learning_rate": 3e-3,
        "schedule": "cosine",
        "warmup_epochs": 0.1,
        "lr_decay": 1.0,
        "lr_decay_epochs": 1.0,
        "lr_floor": 0.05,
        "weight_decay": 0.01,
        "momentum": 0.9,
        "clip_norm": 1.0,
        "options": {"alpha": 1.0, "gamma": 0},
    },
    "objectives": [{"metric": "perplexity"}, {"metric": "size_bytes"}],
    "search": {
        "algorithm": "nsga2",
        "evaluations": 250,
        "calibration_images": 512,
        "options": {"population": 50},
    },
}

# A trained network is fine-tuned: gently, and with its own sizes as the space.
WITH_PRETRAINED: dict[str, Any] = {
    "supernet": {"importance": "activation"},
    "training": {"epochs": 1, "learning_rate": 1e-5},
}
