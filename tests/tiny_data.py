"""Miniature data: those of the sources, and some that only tests need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from supernet.data.examples import encoded, picture
from supernet.data.sources.cifar10.example import write as cifar10
from supernet.data.sources.huggingface.example import write as huggingface
from supernet.data.sources.images.example import write as images
from supernet.data.sources.labelled_text.example import write as labelled_text

__all__ = ["cifar10", "encoded", "grey_images", "huggingface", "image_table", "images", "labelled_text", "picture"]


def grey_images(root: Path, parts: dict[str, int] | None = None) -> dict[str, Any]:
    """Ten classes of grey 8x8 images, as `mobilenet/digits` takes them, sorted by class."""
    for part, count in (parts or {"": 12}).items():
        for label in range(10):
            place = root / part / f"class{label}"
            place.mkdir(parents=True)
            for i in range(count):
                picture(label % 3, 100 * label + i, (8, 8)).save(place / f"{i}.png")
    return {"path": str(root), "size": 8, "channels": 1, "validation_share": 0.25}


def image_table(root: Path) -> dict[str, Any]:
    """A Hugging Face data set of images on the disk, with a test split."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})

    def part(count):
        rows = {"image": [{"bytes": encoded(picture(i % 3, i)), "path": None} for i in range(count)]}
        return datasets.Dataset.from_dict({**rows, "label": [i % 3 for i in range(count)]}, features=features)

    datasets.DatasetDict({"train": part(40), "test": part(9)}).save_to_disk(str(root))
    return {"path": str(root), "size": 16, "validation_share": 0.2}
