"""Miniature data, one folder per source, written by hand so that every number in a test is known."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# Colours that tell the classes of the miniature images apart.
COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))


def picture(label: int, seed: int, size: tuple[int, int] = (32, 32)) -> Image.Image:
    """A noisy image in its class's colour."""
    noise = np.random.default_rng(seed).integers(-20, 20, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.array(COLOURS[label]) + noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    """The image as a file's content."""
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def cifar10(folder: Path) -> dict[str, Any]:
    """Parquet as on the Hub: 60 training and 20 test images of ten classes."""
    from pyarrow import Table, parquet

    for part, count in (("train", 60), ("test", 20)):
        rows = {
            "image": [{"bytes": encoded(picture(i % 3, i)), "path": f"{i}.png"} for i in range(count)],
            "label": [i % 10 for i in range(count)],
        }
        parquet.write_table(Table.from_pydict(rows), folder / f"{part}.parquet")
    return {"path": str(folder), "validation_share": 0.2}


def images(folder: Path) -> dict[str, Any]:
    """Three classes of ten images; sizes differ."""
    for label in range(3):
        (folder / f"colour{label}").mkdir()
        for i in range(10):
            picture(label, i, (24 + i, 20)).save(folder / f"colour{label}" / f"{i}.png")
    return {"path": str(folder), "size": 16, "validation_share": 0.25}


def labelled_text(folder: Path) -> dict[str, Any]:
    """Tab-separated, with a test file; quotes are letters."""
    lines = [f'"film {i} is {"good" if i % 2 else "bad"}\t{i % 2}' for i in range(40)]
    (folder / "train.tsv").write_text("\n".join(lines))
    (folder / "test.tsv.gz").write_bytes(gzip.compress(b"good\t1\nbad\t0\n"))
    return {"path": str(folder), "length": 16, "validation_share": 0.2}


def text(folder: Path) -> dict[str, Any]:
    """One compressed file."""
    (folder / "play.txt.gz").write_bytes(gzip.compress(b"To be, or not to be: that is the question.\n" * 50))
    return {"path": str(folder / "play.txt.gz"), "length": 16}


def huggingface(folder: Path) -> dict[str, Any]:
    """A parquet file of labelled texts."""
    from pyarrow import Table, parquet

    rows = {"sentence": [f"text {i}" for i in range(40)], "label": [i % 2 for i in range(40)]}
    parquet.write_table(Table.from_pydict(rows), folder / "rows.parquet")
    return {"path": str(folder / "rows.parquet"), "length": 8, "validation_share": 0.2, "test_share": 0.2}


def digits(_folder: Path) -> dict[str, Any]:
    """Ships with scikit-learn."""
    return {}


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


# Source -> writes its miniature and returns the options that read it.
MAKERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "cifar10": cifar10,
    "digits": digits,
    "huggingface": huggingface,
    "images": images,
    "labelled_text": labelled_text,
    "text": text,
}
