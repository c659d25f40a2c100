"""SN-Net: the networks that lie between two trained ones, by stitching layers. A few minutes.

Run it beside `winnow up`:

    python examples/sn_net.py ./my-small ./my-large

The arguments are folders of Hugging Face of one model type. Where they are missing, two small ViTs with fresh weights
are made, so that the way can be tried without a download; what lies between trained ones is the use of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import winnow

CLASSES = [f"digit-{number}" for number in range(10)]
SIZE = 32  # pixels a side


def make_vit(folder: Path, width: int) -> None:
    """Save a small ViT of ten classes, as transformers itself does."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    shape = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 3, "num_attention_heads": 2}
    names = dict(enumerate(CLASSES))
    labels = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    config = ViTConfig(**shape, **labels, image_size=SIZE, patch_size=8)
    ViTForImageClassification(config).save_pretrained(folder)


def make_images(folder: Path) -> None:
    """Write scikit-learn's digits as PNG files, a folder for each class."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((SIZE, SIZE)).save(place / f"{number:04}.png")


def job_of(anchors: list[Path], images: Path) -> dict:
    """Every network between the two, trained together and scored whole."""
    return {
        "name": "example: SN-Net",
        "recipe": "sn_net",
        "supernet": {"family": "stitched", "pretrained": [str(anchor) for anchor in anchors]},
        "data": {"source": "images", "path": str(images), "size": SIZE},
        "training": {"epochs": 4, "learning_rate": 1e-3, "seed": 0},
        "hardware": {"seconds": 0.1},  # of measuring each finalist
    }


def main(anchors: list[Path], images: Path) -> None:
    """From two folders to a front between them."""
    if not images.exists():
        make_images(images)
    for anchor, width in zip(anchors, (32, 64), strict=True):
        if not anchor.exists():
            make_vit(anchor, width)
    with winnow.Client() as client:
        front = client.submit(job_of(anchors, images)).wait().front
    for network in front.networks:
        print(f"{network.id}: accuracy {network.metrics['accuracy']:.3f}, {network.metrics['macs']:,.0f} MACs")


if __name__ == "__main__":
    folders = [Path(name).resolve() for name in (sys.argv[1:] or ["my-small", "my-large"])]
    main(folders, Path("my-digits").resolve())
