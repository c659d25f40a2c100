"""SimQ-NAS: images of your own to an INT8 ONNX file under a limit of latency. A few minutes.

Run it beside `winnow up`, in the folder that has your images:

    python examples/simq_nas.py my-images 0.5

The first argument is a folder that has a folder of images for each class; where it is missing, it is made of
scikit-learn's handwritten digits. The second is the limit in milliseconds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import winnow


def make_images(folder: Path) -> None:
    """Write scikit-learn's digits as PNG files, a folder for each class."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / f"digit-{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).save(place / f"{number:04}.png")


def shape_of(folder: Path) -> tuple[str, int, int]:
    """The preset for the images of a folder, their pixels a side, and their channels."""
    with Image.open(next(folder.glob("*/*.*"))) as first:
        return ("digits", 8, 1) if first.size == (8, 8) else ("cifar", 32, 3)


def read(file: Path, size: int, channels: int) -> np.ndarray:
    """An image as (channels, size, size), its pixels from 0 to 255."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("L" if channels == 1 else "RGB").resize((size, size)), np.float32)
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


def job_of(folder: Path, limit_ms: float) -> dict:
    """Search the architecture and the bits of every layer together, under a limit of measured latency."""
    preset, size, channels = shape_of(folder)
    return {
        "name": "example: own images to INT8",
        "recipe": "simq_nas",
        "supernet": {"family": "mobilenet", "preset": preset, "classes": len(list(folder.iterdir()))},
        "data": {"source": "images", "path": str(folder), "size": size, "channels": channels},
        "training": {"epochs": 8, "seed": 0},
        "quantization": {"bits": [8, 32], "calibration_examples": 64, "sensitivity": False, "baseline_evaluations": 4},
        "objectives": [
            {"metric": "accuracy"},
            {"metric": "latency_ms", "target": "cpu-onnxruntime", "limit": limit_ms},
            {"metric": "size_bytes"},
        ],
        "search": {"evaluations": 40, "seed": 0},
        # The predictor learns from twenty measured networks, without a table of layers, and any quality will do.
        "hardware": {"seconds": 0.1, "networks": 20, "max_layers": 0, "min_within_10_percent": 0},
    }


def main(folder: Path, limit_ms: float) -> None:
    """From a folder of images to a file that runs."""
    if not folder.exists():
        make_images(folder)
    with winnow.Client() as client:
        front = client.submit(job_of(folder, limit_ms)).wait().front
        print(front.to_pandas()[["architecture_id", "accuracy", "latency_ms", "size_bytes"]].to_string(index=False))
        # The smallest file among those within the limit that lose at most two points to the best.
        best = front.best()
        good = [one for one in front.networks if one.metrics["accuracy"] >= best.metrics["accuracy"] - 0.02]
        chosen = min(good, key=lambda one: one.metrics["size_bytes"])
        bits = {name: value for name, value in chosen["values"].items() if name.endswith("bits")}
        print(f"chosen: {chosen.id}, {sum(value == 8 for value in bits.values())} of {len(bits)} layers in INT8")
        export = chosen.export("onnx")

    session = export.load()
    # The file says itself what it takes, and what its classes are called.
    facts = session.get_modelmeta().custom_metadata_map
    takes, names = json.loads(facts["preprocessing"]), json.loads(facts["class_names"])
    files = sorted(folder.glob("*/*.*"))[::10]
    pixels = np.stack([read(file, *shape_of(folder)[1:]) for file in files]) * takes["full_scale"] / 255
    mean, std = (np.reshape(takes[name], (1, -1, 1, 1)) for name in ("mean", "std"))
    inputs = ((pixels - mean) / std).astype(np.float32)
    (logits,) = session.run(None, {session.get_inputs()[0].name: inputs})
    right = sum(names[best] == file.parent.name for best, file in zip(logits.argmax(1), files, strict=True))
    print(f"{export.archive.name}: {right} of {len(files)} images right")


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv))
    main(Path(arguments.get(1, "my-images")).resolve(), float(arguments.get(2, 1.0)))
